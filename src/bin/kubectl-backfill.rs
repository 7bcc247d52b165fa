//! Wiring only: arguments to the plugin, its end to an exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("a TLS provider was installed before ours");
        return ExitCode::from(backfill_operator::plugin::UNUSABLE);
    }
    backfill_operator::plugin::run(std::env::args_os()).await
}
