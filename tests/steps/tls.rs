use crate::support::pod::{End, Pod, TABLES, spec};
use crate::support::postgres::{Database, server};
use backfill_operator::api::spec::TlsMode;
use backfill_operator::api::status::Step;
use backfill_operator::protocol::Outcome;
use std::io::{Read as _, Write as _};

fn backup(pod: &mut Pod, mode: Option<TlsMode>, ca: Option<&str>) -> End {
    let _ = std::fs::remove_file(&pod.paths.ca);
    if let Some(ca) = ca {
        std::fs::create_dir_all(pod.paths.ca.parent().unwrap()).unwrap();
        std::fs::copy(server().folder.join(ca), &pod.paths.ca).unwrap();
    }
    pod.input.spec.database.tls = mode
        .map(|mode| backfill_operator::api::spec::Tls { mode, ca_secret_ref: Some(serde_json::from_str(r#"{"name": "ca"}"#).unwrap()) });
    pod.run(Step::Backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_and_dump_are_encrypted_and_the_server_is_verified_where_a_ca_is_known() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    for (mode, ca) in
        [(None, Some("ca.crt")), (Some(TlsMode::VerifyFull), Some("ca.crt")), (None, None), (Some(TlsMode::Require), Some("other.crt"))]
    {
        let end = backup(&mut pod, mode, ca);
        assert_eq!(end.verdict.outcome, Outcome::Passed, "{mode:?} {ca:?}: {} {}", end.verdict.message, end.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_one_meant_is_refused_with_what_to_change() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let end = backup(&mut pod, None, Some("other.crt"));
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "TlsFailed"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("spec.database.tls.caSecretRef"), "{}", end.verdict.message);
    // The certificate is for 127.0.0.1.
    pod.secret("host", "localhost");
    let end = backup(&mut pod, None, Some("ca.crt"));
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "TlsFailed"), "{}", end.verdict.message);
    let end = backup(&mut pod, Some(TlsMode::VerifyFull), None);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "CaMissing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_told_apart_and_the_way_out_is_named() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    pod.secret("port", &listener.local_addr().unwrap().port().to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 8];
            stream.read_exact(&mut request).and_then(|()| stream.write_all(b"N")).unwrap();
        }
    });
    let end = backup(&mut pod, None, None);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "TlsFailed"));
    assert!(end.verdict.message.contains("spec.database.tls.mode: Disable"), "{}", end.verdict.message);
}
