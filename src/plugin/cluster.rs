//! Every call to the API server, each under a timeout, as the user of the kubeconfig.

use super::PluginError;
use crate::api::BackfillRun;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::time::Duration;

/// Every call ends within this. The client's own tries after 429, 503 and 504 are within it, too.
pub const CALL: Duration = Duration::from_secs(15);
/// A connection is made within this.
const CONNECT: Duration = Duration::from_secs(5);

/// A namespace of a cluster, seen by one user.
pub struct Cluster {
    /// The namespace.
    pub namespace: String,
    client: Client,
}

impl Cluster {
    /// Reads the kubeconfig (`KUBECONFIG`, else `~/.kube/config`).
    ///
    /// # Errors
    /// [`PluginError::Kubeconfig`] and [`PluginError::Connect`]; the server itself is not asked yet.
    pub async fn connect(context: Option<String>, namespace: Option<String>) -> Result<Self, PluginError> {
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let read = Config::from_custom_kubeconfig(Kubeconfig::read()?, &options);
        let mut config =
            tokio::time::timeout(CALL, read).await.map_err(|_| PluginError::NoAnswer { what: "read the kubeconfig", after: CALL })??;
        config.connect_timeout = Some(CONNECT);
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|source| PluginError::Connect(Box::new(source)))?;
        Ok(Self { namespace, client })
    }

    /// The run as it is now.
    ///
    /// # Errors
    /// [`PluginError::NoSuchRun`], and those of a call.
    pub async fn run(&self, name: &str) -> Result<BackfillRun, PluginError> {
        match call("get the run", self.runs().get(name)).await {
            Err(PluginError::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 404) => {
                Err(PluginError::NoSuchRun { name: name.into(), namespace: self.namespace.clone() })
            }
            answer => answer,
        }
    }

    /// A merge patch of the run; with a `metadata.resourceVersion` in it, of that version and no other.
    ///
    /// # Errors
    /// [`PluginError::Conflict`] where it is another version now, [`PluginError::Refused`], and those of a call.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<BackfillRun, PluginError> {
        call("change the run", self.runs().patch(name, &PatchParams::default(), &Patch::Merge(patch))).await
    }

    /// The name under which the API server knows the caller.
    ///
    /// # Errors
    /// Those of a call.
    pub async fn user(&self) -> Result<String, PluginError> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = call("ask who you are", reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        review
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| PluginError::NotNow("the API server does not say who you are".into()))
    }

    /// The pods that have these labels.
    ///
    /// # Errors
    /// Those of a call.
    pub async fn pods(&self, labels: &str) -> Result<Vec<Pod>, PluginError> {
        Ok(call("list the pods", self.pod_api().list(&ListParams::default().labels(labels))).await?.items)
    }

    /// Pods of the namespace, for their logs.
    #[must_use]
    pub fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn runs(&self) -> Api<BackfillRun> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Puts a limit on a call, and tells a refusal from a broken connection.
///
/// # Errors
/// [`PluginError::NoAnswer`], [`PluginError::Conflict`], [`PluginError::Refused`], [`PluginError::Api`].
pub async fn call<T>(what: &'static str, future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, PluginError> {
    match tokio::time::timeout(CALL, future).await {
        Err(_) => Err(PluginError::NoAnswer { what, after: CALL }),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(PluginError::Conflict),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 403 | 422) => {
            Err(PluginError::Refused { what, message: status.message.clone() })
        }
        Ok(Err(source)) => Err(PluginError::Api { what, source: Box::new(source) }),
        Ok(Ok(answer)) => Ok(answer),
    }
}
