//! Real counterparts for tests: a PostgreSQL of their own, and a folder that looks like a step's pod.

#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::missing_panics_doc, missing_docs)]

pub mod pod;
pub mod postgres;
pub mod s3;
