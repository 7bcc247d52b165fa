//! The backfill operator: takes a PostgreSQL backfill from release check to feature flag, and always knows the way back.
//!
//! The map of the house:
//!
//! | room | what lives there | may know |
//! |---|---|---|
//! | [`api`] | the `BackfillRun` resource | nobody |
//! | [`protocol`] | what controller and steps say to each other | `api` |
//! | [`lifecycle`] | the pure core: what happens next | `api`, `protocol` |
//! | [`config`] | the operator's own configuration | nobody |
//! | [`destination`] | where the files of backups lie: a volume or a bucket | `api` |
//! | [`flags`] | feature flags, a file a provider | `api` |
//! | [`notify`] | channels, and what they are told | `api`, `config` |
//! | [`reference`] | the API reference, out of the definition | `api` |
//! | [`report`] | the evidence: the filled-in checklist | `api` |
//! | [`postgres`] | connecting, server facts, command line tools, sums over tables | `api` |
//! | [`engine`] | the data plane: plan, ledger, apply, undo, verify | `api`, `protocol`, `postgres` |
//! | [`steps`] | what runs inside a Job | all but `controller` |
//! | [`controller`] | the Kubernetes shell | all |
//! | [`plugin`] | `kubectl backfill`: what a person types | `api`, `protocol`, the estimates of `lifecycle` |

pub mod api;
pub mod config;
pub mod controller;
pub mod destination;
pub mod engine;
pub mod flags;
pub mod lifecycle;
pub mod notify;
pub mod plugin;
pub mod postgres;
pub mod protocol;
pub mod reference;
pub mod report;
pub mod steps;
