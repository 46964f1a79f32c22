//! Requests that can be read in two ways: what is matched is what the origin gets.

use crate::support::{App, Origin, config};

/// Everything goes to `open`, and what is under /admin to `shut`.
const ROUTES: &str = "  - { name: open, split: [{ to: open }] }
  - { name: shut, matches: [{ path: { prefix: /admin } }], split: [{ to: shut }] }
  - name: named
    matches: [{ header: { name: api_key, exact: k } }]
    split: [{ to: shut }]
";

async fn app(ambiguity: &str) -> (App, Origin, Origin) {
    let (open, shut) = (Origin::named("open").await, Origin::named("shut").await);
    let pools: [(&str, &[_]); 2] = [("open", &[open.address]), ("shut", &[shut.address])];
    let yaml = format!("ambiguity: {{ {ambiguity} }}\n{}", config(&pools, ROUTES));
    (App::start(&yaml).await, open, shut)
}

#[tokio::test]
async fn a_path_is_matched_and_forwarded_with_its_dot_segments_resolved() {
    let (app, open, shut) = app("").await;
    for path in ["/public/../admin/x?a=/../b", "/%2E%2e/admin/x?a=/../b", "/./admin/x?a=/../b"] {
        assert_eq!(app.get(path).await.origin(), "shut", "{path}");
        assert_eq!(shut.last().target(), "/admin/x?a=/../b");
    }
    assert_eq!(app.get("/admin/../public/").await.origin(), "open");
    assert_eq!(open.last().target(), "/public/");
}

#[tokio::test]
async fn what_needs_no_resolving_goes_out_byte_for_byte() {
    let (app, open, _shut) = app("").await;
    for path in ["//a//", "/a%2Fb%5c;v=1/.x/..y?../", "/a%20b%41", "/"] {
        assert_eq!(app.get(path).await.origin(), "open", "{path}");
        assert_eq!(open.last().target(), path);
    }
}

#[tokio::test]
async fn a_path_that_services_read_differently_is_400() {
    let (app, open, shut) = app("").await;
    for path in ["/a/..%2fadmin", "/a/..;/admin", "/a/..%5Cadmin", "/a/..\\admin", "/a%00"] {
        let response = app.get(path).await;
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(
            response.text(),
            "400 Bad Request: the request's path can be read in two ways\n"
        );
    }
    assert_eq!(open.requests() + shut.requests(), 0);
    app.metric_is("serin_errors_total", &[("cause", "ambiguous_path")], 5.0).await;
}

#[tokio::test]
async fn paths_are_left_merged_or_refused_as_asked() {
    let (app, _open, shut) = self::app("dotSegments: keep").await;
    assert_eq!(app.get("/public/../admin").await.origin(), "open");
    drop((app, shut));
    let (app, _open, shut) = self::app("repeatedSlashes: merge, encodedSeparators: refuse").await;
    assert_eq!(app.get("//admin///x").await.origin(), "shut");
    assert_eq!(shut.last().target(), "/admin/x");
    assert_eq!(app.get("/a%2fb").await.status, 400);
    drop((app, shut));
    let (app, _open, _shut) = self::app("dotSegments: refuse, repeatedSlashes: refuse").await;
    assert_eq!(app.get("/a/../b").await.status, 400);
    assert_eq!(app.get("/a//b").await.status, 400);
    assert_eq!(app.get("/a/b").await.status, 200);
}

#[tokio::test]
async fn explaining_reads_a_path_as_serving_does() {
    let (app, _open, _shut) = app("").await;
    for (path, route) in [("/public/../admin", "shut"), ("/admin/..", "open")] {
        let question = format!(r#"{{"url":"http://a.test{path}"}}"#);
        let answer = ask(&app, &question).await;
        assert!(answer.contains(&format!(r#""route":"{route}""#)), "{answer}");
    }
    let answer = ask(&app, r#"{"url":"http://a.test/a/..;/b"}"#).await;
    assert!(answer.contains("it gets 400 Bad Request"), "{answer}");
}

async fn ask(app: &App, question: &str) -> String {
    let address = app.bound.admin.borrow().unwrap();
    let mut client = crate::support::Client::connect(address).await;
    let length = question.len();
    let head =
        "POST /api/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    client.send(format!("{head}content-length: {length}\r\n\r\n{question}")).await;
    client.response().await.unwrap().text()
}

#[tokio::test]
async fn a_field_that_could_be_taken_for_one_of_ours_is_removed() {
    let (app, open, _shut) = app("").await;
    let fields = "x_forwarded_for: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\ncontent_length: 3\r\n\
                  transfer_encoding: chunked\r\nmy_own: 1\r\n";
    assert_eq!(app.fetch_with("/", fields).await.origin(), "open");
    let head = open.last();
    assert_eq!(head.get("my_own"), Some("1"));
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    let underscored = head.fields.iter().filter(|(name, _)| name.contains('_'));
    assert_eq!(underscored.count(), 1);
}

#[tokio::test]
async fn a_field_that_is_dropped_is_not_matched_either() {
    let (app, _open, shut) = self::app("").await;
    assert_eq!(app.fetch_with("/", "api_key: k\r\n").await.origin(), "shut");
    assert_eq!(shut.last().get("api_key"), Some("k"));
    drop((app, shut));
    let (app, open, _shut) = self::app("underscores: drop").await;
    assert_eq!(app.fetch_with("/", "api_key: k\r\n").await.origin(), "open");
    assert_eq!(open.last().get("api_key"), None);
    drop((app, open));
    let (app, open, _shut) = self::app("underscores: refuse").await;
    let response = app.fetch_with("/", "api_key: k\r\n").await;
    assert_eq!(response.status, 400);
    assert_eq!(open.requests(), 0);
    app.metric_is("serin_errors_total", &[("cause", "underscore")], 1.0).await;
}
