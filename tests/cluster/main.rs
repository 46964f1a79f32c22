//! The proxy against a real control plane, and by the same code against that of the tests.
//!
//! `SERIN_TEST_KUBECONFIG` names a kubeconfig of somebody who may make namespaces and roles; what
//! else is needed stands in CONTRIBUTING.md.

#![cfg(feature = "kube")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod cases;
mod nodes;
mod rights;
#[path = "../proxy/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other tests use all of it")]
mod support;
mod tenant;

use futures_util::FutureExt as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use support::Cluster;
use tenant::Tenant;

/// The real control plane, if there is one; says so past the capturing of tests' output if not.
fn real() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let named = std::env::var_os("SERIN_TEST_KUBECONFIG").filter(|path| !path.is_empty());
    if named.is_none() {
        let what = "the cases on a real control plane: name a kubeconfig in SERIN_TEST_KUBECONFIG";
        SAID.call_once(|| skipped(what));
    }
    named.map(PathBuf::from)
}

fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}\n");
}

/// Runs a case in a namespace of its own, of which nothing is left, however the case ends.
async fn run(kubeconfig: &Path, case: impl AsyncFnOnce(&Tenant)) {
    let namespace = tenant::Namespace::make(kubeconfig).await;
    let result = AssertUnwindSafe(async {
        if let Some(tenant) = Tenant::furnish(&namespace, kubeconfig).await {
            case(&tenant).await;
        }
    });
    let result = result.catch_unwind().await;
    namespace.end().await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Runs a case against the API server of the tests, over TLS.
async fn run_here(case: impl AsyncFnOnce(&Tenant)) {
    let cluster = Cluster::start_secured().await;
    run(&cluster.kubeconfig_file(), case).await;
    assert!(cluster.namespaces().is_empty(), "{:?}", cluster.namespaces());
}

async fn run_there(case: impl AsyncFnOnce(&Tenant)) {
    if let Some(kubeconfig) = real() {
        run(&kubeconfig, case).await;
    }
}

/// Each case as a test of both control planes.
macro_rules! cases {
    ($($module:ident::$case:ident)*) => {
        mod in_the_process {
            $(#[tokio::test]
            async fn $case() {
                super::run_here(super::$module::$case).await;
            })*
        }

        mod on_a_real_control_plane {
            $(#[tokio::test]
            async fn $case() {
                super::run_there(super::$module::$case).await;
            })*
        }
    };
}

cases! {
    cases::rules_are_live_in_under_half_a_second
    cases::pods_are_chosen_by_a_set_of_labels
    cases::a_pod_that_is_deleted_gets_nothing_new_within_a_tenth_of_a_second
    cases::the_slices_of_a_service_are_joined
    cases::events_say_what_became_of_the_rules
    cases::the_newest_immutable_config_map_is_used
    rights::the_rights_of_the_manifests_are_enough_and_no_more
}

#[tokio::test]
async fn a_deployment_is_rolled_out_on_real_nodes_and_no_request_is_lost() {
    run_there(nodes::a_deployment_is_rolled_out_and_no_request_is_lost).await;
}

#[tokio::test]
async fn a_case_that_fails_leaves_nothing_behind() {
    let cluster = Cluster::start_secured().await;
    let kubeconfig = cluster.kubeconfig_file();
    let failing = async |tenant: &Tenant| {
        tenant.make_pod("held", "v2", 80, true).await;
        assert_eq!(cluster.namespaces().len(), 1);
        panic!("as told");
    };
    let result = AssertUnwindSafe(run(&kubeconfig, failing)).catch_unwind().await;
    if tenant::own_address().is_some() {
        assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "as told");
    }
    assert!(cluster.namespaces().is_empty(), "{:?}", cluster.namespaces());
}
