//! What CloudNativePG says of databases and clusters, as far as it bears on a restore. The controller reads it; a step tells
//! which of it is about its own database.

use serde::{Deserialize, Serialize};

/// All of it that the controller may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cnpg {
    /// Its Database resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<CnpgDatabase>,
    /// Its Cluster resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<CnpgCluster>,
    /// Why it could not be looked at; empty where it was, or where there is no CloudNativePG.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unseen: String,
}

/// A Database resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CnpgDatabase {
    /// Its namespace, which is that of its cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// The database that it manages.
    pub database: String,
}

/// A Cluster resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CnpgCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// System identifier of its server; empty where it does not say.
    pub system_id: String,
    /// Size of the volume of each instance, as a quantity; empty where it does not say.
    pub storage: String,
}

impl Cnpg {
    /// True where there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// The cluster that a server is of, by its system identifier.
    #[must_use]
    pub fn cluster_of(&self, system_id: &str) -> Option<&CnpgCluster> {
        self.clusters.iter().find(|cluster| !cluster.system_id.is_empty() && cluster.system_id == system_id)
    }

    /// The resource that manages a database. Where a cluster does not say its system identifier, its services' names tell; where
    /// these do not either, one of the run's own namespace is taken for it, to be safe.
    #[must_use]
    pub fn manager_of(&self, database: &str, system_id: &str, host: &str, namespace: &str) -> Option<&CnpgDatabase> {
        self.databases.iter().filter(|managed| managed.database == database).find(|managed| {
            let cluster = self.clusters.iter().find(|c| c.namespace == managed.namespace && c.name == managed.cluster);
            match cluster.map(|cluster| cluster.system_id.as_str()).filter(|id| !id.is_empty()) {
                Some(id) => id == system_id,
                None => leads_to(host, managed) || managed.namespace == namespace,
            }
        })
    }
}

/// `shop-rw`, `shop-rw.prod`, `shop-rw.prod.svc.cluster.local`: a service of the cluster.
fn leads_to(host: &str, managed: &CnpgDatabase) -> bool {
    let mut labels = host.split('.');
    let service = labels.next().unwrap_or_default();
    let of_cluster = ["-rw", "-r", "-ro"].iter().any(|end| service.strip_suffix(end) == Some(managed.cluster.as_str()));
    of_cluster && labels.next().is_none_or(|namespace| namespace == managed.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(system_id: &str) -> Cnpg {
        let (namespace, cluster) = ("prod".to_owned(), "shop".to_owned());
        Cnpg {
            databases: vec![CnpgDatabase {
                namespace: namespace.clone(),
                name: "app-db".into(),
                cluster: cluster.clone(),
                database: "app".into(),
            }],
            clusters: vec![CnpgCluster { namespace, name: cluster, system_id: system_id.into(), storage: "10Gi".into() }],
            unseen: String::new(),
        }
    }

    #[test]
    fn a_database_is_managed_where_the_server_is_the_cluster_s() {
        let known = seen("77");
        assert_eq!(known.manager_of("app", "77", "10.0.0.1", "staging").map(|d| d.name.as_str()), Some("app-db"));
        assert_eq!(known.manager_of("app", "78", "shop-rw.prod.svc", "prod"), None, "another server of the same names");
        assert_eq!(known.manager_of("other", "77", "shop-rw", "prod"), None);
        let unknown = seen("");
        assert!(unknown.manager_of("app", "77", "shop-rw.prod.svc.cluster.local", "staging").is_some());
        assert!(unknown.manager_of("app", "77", "10.0.0.1", "prod").is_some(), "to be safe");
        assert!(unknown.manager_of("app", "77", "10.0.0.1", "staging").is_none());
        assert!(unknown.manager_of("app", "77", "shop-rw.test", "staging").is_none());
        assert_eq!(known.cluster_of("77").map(|c| c.storage.as_str()), Some("10Gi"));
        assert_eq!(unknown.cluster_of(""), None);
    }
}
