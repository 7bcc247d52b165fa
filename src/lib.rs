//! The backfill operator: takes a PostgreSQL backfill from release check to feature flag, and always knows the way back.
//!
//! The map of the house:
//!
//! | room | what lives there | may know |
//! |---|---|---|
//! | [`api`] | the `BackfillRun` resource | nobody |
//! | [`protocol`] | what controller and steps say to each other | `api` |
//! | [`postgres`] | connecting, server facts, command line tools, sums over tables | `api` |
//! | [`engine`] | the data plane: plan, ledger, apply, undo, verify | `api`, `protocol`, `postgres` |
//! | [`steps`] | what runs inside a Job | all of these |

pub mod api;
pub mod engine;
pub mod postgres;
pub mod protocol;
pub mod steps;
