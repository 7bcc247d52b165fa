//! A bucket that pods reach: the S3 server of the tests, on the node's address.

use crate::s3::{BUCKET, KEY_ID, KEY_SECRET, Store};
use crate::scene::Scene;
use serde_json::{Value, json};

/// The node of the native cluster, as its pods reach it.
const NODE: &str = "10.255.0.1";

/// A bucket with its Secret in the namespace of a case.
pub struct Bucket {
    /// The server.
    pub store: Store,
}

impl Bucket {
    /// Starts the server, and makes the Secret.
    pub fn new(scene: &Scene) -> Self {
        let store = Store::on(NODE);
        let keys = json!({"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY_SECRET});
        scene.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": keys}));
        Self { store }
    }

    /// The destination of a run.
    pub fn destination(&self, prefix: &str) -> Value {
        json!({"s3": {"bucket": BUCKET, "prefix": prefix, "endpoint": self.store.endpoint(), "secretRef": {"name": "bucket"}}})
    }
}
