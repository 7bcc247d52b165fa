//! A flag in a JSON document in a `ConfigMap`.

use super::json_flag::{get, set};
use super::{FlagError, FlagValue, TIMEOUT};
use crate::api::spec::ConfigMapFlag;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};

/// What a flag is, and when it was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagReading {
    /// What it is.
    pub value: FlagValue,
    /// Version of the `ConfigMap` that was read.
    pub resource_version: String,
}

/// Reads the flag. A `ConfigMap` that can be read but never changed is an error already here, so that preflight finds it.
///
/// # Errors
/// [`FlagError`].
pub async fn read(client: Client, namespace: &str, flag: &ConfigMapFlag) -> Result<FlagReading, FlagError> {
    let (map, document) = fetch(&Api::namespaced(client, namespace), flag).await?;
    Ok(FlagReading { value: get(&document, &flag.path)?, resource_version: map.resource_version().unwrap_or_default() })
}

/// Switches the flag on, if it is still what the run found there (`previous`). A flag that is on already is left.
///
/// # Errors
/// [`FlagError::FlagChangedByOther`] where it is neither; [`FlagError::FlagConflict`] where somebody wrote at the same
/// time; else as [`read`].
pub async fn enable(client: Client, namespace: &str, flag: &ConfigMapFlag, previous: FlagValue) -> Result<FlagReading, FlagError> {
    change(&Api::namespaced(client, namespace), flag, previous, FlagValue::On).await
}

/// Puts the previous value back, if the flag is still on as the run left it. A flag that has its previous value is left.
///
/// # Errors
/// As [`enable`].
pub async fn restore(client: Client, namespace: &str, flag: &ConfigMapFlag, previous: FlagValue) -> Result<FlagReading, FlagError> {
    change(&Api::namespaced(client, namespace), flag, FlagValue::On, previous).await
}

async fn change(api: &Api<ConfigMap>, flag: &ConfigMapFlag, from: FlagValue, to: FlagValue) -> Result<FlagReading, FlagError> {
    let (mut map, document) = fetch(api, flag).await?;
    let value = match get(&document, &flag.path) {
        // Somebody took the whole object away: what is to be absent is absent.
        Err(FlagError::FlagPathMissing { .. }) if to == FlagValue::Absent => FlagValue::Absent,
        other => other?,
    };
    if value == to {
        return Ok(FlagReading { value, resource_version: map.resource_version().unwrap_or_default() });
    }
    if value != from {
        return Err(FlagError::FlagChangedByOther { found: value, expected: from });
    }
    let changed = set(&document, &flag.path, to)?;
    map.data.get_or_insert_default().insert(flag.key.clone(), changed);
    // The map carries the version that was read: the API server refuses the write if there is a later one.
    let written = call("update", flag, api.replace(&flag.name, &PostParams::default(), &map)).await?;
    Ok(FlagReading { value: to, resource_version: written.resource_version().unwrap_or_default() })
}

async fn fetch(api: &Api<ConfigMap>, flag: &ConfigMapFlag) -> Result<(ConfigMap, String), FlagError> {
    let map = call("get", flag, api.get(&flag.name)).await?;
    if map.immutable == Some(true) {
        return Err(FlagError::FlagConfigMapImmutable { name: flag.name.clone() });
    }
    let document = map.data.as_ref().and_then(|data| data.get(&flag.key)).cloned();
    let document = document.ok_or_else(|| FlagError::FlagKeyMissing { name: flag.name.clone(), key: flag.key.clone() })?;
    Ok((map, document))
}

async fn call<T>(verb: &'static str, flag: &ConfigMapFlag, work: impl Future<Output = kube::Result<T>>) -> Result<T, FlagError> {
    let name = flag.name.clone();
    match tokio::time::timeout(TIMEOUT, work).await {
        Err(_) => Err(FlagError::FlagTimedOut),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(FlagError::FlagConfigMapMissing { name }),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(FlagError::FlagConflict { name }),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(FlagError::FlagForbidden { verb, name, message: status.message.clone() })
        }
        Ok(Err(error)) => Err(FlagError::FlagApi(Box::new(error))),
    }
}
