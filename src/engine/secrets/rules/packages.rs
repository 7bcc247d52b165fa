//! Registries of packages and images.

use crate::engine::secrets::rule::{Rule, named, token};

pub(super) const RULES: &[Rule] = &[
    token("npm-token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}\b", &["npm_<a36>"], &["npm_config_cache", "npm_<a8>"]),
    token(
        "npmrc-token",
        &["_authToken", "_auth ", "_auth="],
        r#"_auth(?:Token)?\s?=\s?["']?([A-Za-z0-9+/=_-]{20,})"#,
        &["//registry.npmjs.org/:_authToken=<g1>", "_auth=<b40>"],
        &["_authToken=${NPM_TOKEN}"],
    ),
    token("pypi-token", &["pypi-AgE"], r"\bpypi-AgE[A-Za-z0-9_-]{50,}", &["pypi-AgEIcHlwaS5vcmc<w120>"], &["pypi-AgE"]),
    token("rubygems-key", &["rubygems_"], r"\brubygems_[a-f0-9]{48}\b", &["rubygems_<h48>"], &["rubygems_<h8>"]),
    token("nuget-key", &["oy2"], r"\boy2[a-z0-9]{43}\b", &["oy2<l43>"], &["oy2<l8>"]),
    token(
        "nuget-password",
        &["ClearTextPassword"],
        r#"(?i)key="ClearTextPassword"\s+value="([^"]{4,})""#,
        &["<add key=\"ClearTextPassword\" value=\"<a12>\" />"],
        &["<add key=\"ClearTextPassword\" />"],
    ),
    token("crates-token", &["cio"], r"\bcio[A-Za-z0-9]{32}\b", &["cio<a32>"], &["precious", "cio<a8>"]),
    token("dockerhub-token", &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[A-Za-z0-9_-]{27,36}", &["dckr_pat_<w27>"], &["dckr_pat_<w8>"]),
    token(
        "docker-auth",
        &["\"auth\""],
        r#""auth"\s{0,3}:\s{0,3}"([A-Za-z0-9+/]{16,}={0,2})""#,
        &["{\"auths\": {\"r.example\": {\"auth\": \"<b32>==\"}}}"],
        &["\"auth\": \"none\""],
    ),
    token("clojars-token", &["CLOJARS_"], r"\bCLOJARS_[a-z0-9]{60}\b", &["CLOJARS_<l60>"], &["CLOJARS_USERNAME"]),
    token("artifactory-key", &["AKCp"], r"\bAKCp[A-Za-z0-9]{69}\b", &["AKCp<a69>"], &["AKCp<a8>"]),
    token("artifactory-token", &["cmVmd"], r"\bcmVmd[A-Za-z0-9]{59}\b", &["cmVmd<a59>"], &["cmVmd<a8>"]),
    named("jfrog-key", &["jfrog", "artifactory", "bintray", "xray"], r"[A-Za-z0-9]{64,73}", &["JFROG_API_KEY=<a73>"], &["JFROG_REPO=<l9>"]),
    token(
        "packagist-token",
        &["packagist_"],
        r"\bpackagist_(?:org|ack)?_?[a-z]{2,4}_[a-f0-9]{60,72}\b",
        &["packagist_org_uut_<h68>"],
        &["packagist_org_name"],
    ),
    named("cloudsmith-key", &["cloudsmith"], r"[a-f0-9]{40}", &["CLOUDSMITH_API_KEY=<h40>"], &["CLOUDSMITH_REPO=<l9>"]),
    named("quay-token", &["quay"], r"[A-Z0-9]{64}", &["QUAY_ROBOT_TOKEN=<u64>"], &["QUAY_ORG=<l9>"]),
    named("gemfury-token", &["gemfury", "fury_"], r"[A-Za-z0-9]{20}", &["GEMFURY_PUSH_TOKEN=<a20>"], &["GEMFURY_USER=<l9>"]),
    token("hexpm-key", &["hex_"], r#"(?i)\bhex_api_key["'\s:=]{1,5}([a-f0-9]{32})\b"#, &["HEX_API_KEY=<h32>"], &["HEX_API_KEY=<h8>"]),
    named("galaxy-token", &["galaxy"], r"[a-f0-9]{40}", &["ANSIBLE_GALAXY_TOKEN=<h40>"], &["GALAXY_ROLE=<l9>"]),
];
