//! The backfill operator: takes a PostgreSQL backfill from release check to feature flag, and always knows the way back.
//!
//! The map of the house:
//!
//! | room | what lives there | may know |
//! |---|---|---|
//! | [`api`] | the `BackfillRun` resource | nobody |
//! | [`protocol`] | what controller and steps say to each other | `api` |
//! | [`lifecycle`] | the pure core: what happens next | `api`, `protocol` |
//! | [`steps`] | what runs inside a Job | all but the controller |

pub mod api;
pub mod lifecycle;
pub mod protocol;
pub mod steps;
