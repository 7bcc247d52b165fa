//! A client for the cluster that `tests/cluster/cluster up` started.

/// A client for the cluster that KUBECONFIG names, and for no other: a developer's own default context is not ours to test on.
pub async fn client() -> kube::Client {
    // A second test of the same process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "set KUBECONFIG: `tests/cluster/cluster up` starts a cluster and prints it (or use `make test`)"
    );
    kube::Client::try_default().await.expect("KUBECONFIG names a cluster that can be reached")
}
