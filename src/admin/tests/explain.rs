//! Questions to `/api/explain`: answered by the contract, or told what is wrong with them.

use super::{ask, state};
use crate::admin::{State, question};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

async fn explain(state: &Arc<State>, question: &Value) -> Value {
    let answer = ask(state, Method::POST, "/api/explain", &question.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[tokio::test]
async fn explaining_follows_the_contract() {
    let state = state();
    let drawn = explain(&state, &json!({ "url": "http://drawn.example.com/cart?x=1" })).await;
    assert_eq!(drawn["status"], 200);
    assert_eq!((&drawn["route"], &drawn["arm"]), (&json!("drawn"), &json!("0")));
    assert_eq!((&drawn["pool"], &drawn["reason"]), (&Value::Null, &json!("weight")));
    assert_eq!(drawn["weights"], json!({ "stable": 9, "canary": 1 }));
    assert!(drawn["considered"].as_array().unwrap().contains(&json!(
        { "route": "drawn", "match": 0, "failed": null }
    )));
    let unknown = explain(&state, &json!({ "url": "http://else.example.com/" })).await;
    assert_eq!(unknown["status"], 404);
    assert!(["route", "arm", "pool", "reason"].iter().all(|key| unknown[key].is_null()));
    assert_eq!(unknown["considered"].as_array().unwrap().len(), 3);
    let gone = explain(&state, &json!({ "url": "http://gone.example.com/" })).await;
    assert_eq!((&gone["status"], &gone["route"]), (&json!(503), &json!("gone")));
    assert_eq!((&gone["pool"], &gone["weights"]), (&Value::Null, &json!({})));
    let mut question = json!({
        "method": "GET", "url": "http://shop.example.com/cart?x=1",
        "headers": [["x-user-id", "u-1"]], "clientIp": "10.0.0.9",
    });
    let cohort = explain(&state, &question).await;
    assert_eq!((&cohort["arm"], &cohort["reason"]), (&json!("1"), &json!("cohort")));
    assert!(cohort["scores"][cohort["pool"].as_str().unwrap()].is_number());
    question["headers"] = json!([["x-serin-pool", "canary"]]);
    let overridden = explain(&state, &question).await;
    assert_eq!(overridden["reason"], "override");
    assert_eq!((&overridden["arm"], &overridden["pool"]), (&Value::Null, &json!("canary")));
}

#[tokio::test]
async fn a_bad_question_is_told_what_is_wrong() {
    let state = state();
    let asked = async |text: &str| {
        let answer = ask(&state, Method::POST, "/api/explain", text).await;
        (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
    };
    for (text, message) in [
        ("", "EOF"),
        ("{}", "missing field `url`"),
        (r#"{"url":"/","clientIP":"::1"}"#, "unknown field `clientIP`"),
        (r#"{"url":"http://a b/"}"#, "http://a b/"),
        (r#"{"url":"/","method":"G T"}"#, "`G T` is no method"),
        (r#"{"url":"/","clientIp":"x"}"#, "IP address"),
        ("\u{0}\u{1}", "expected value"),
    ] {
        let (status, error) = asked(text).await;
        assert!(status == 400 && error.contains(message), "{text}: {status} {error}");
    }
    let padded = |bytes: usize| {
        let question = r#"{"url":"/"}"#;
        format!("{question}{}", " ".repeat(bytes - question.len()))
    };
    assert_eq!(asked(&padded(question::BYTES_MAX + 1)).await.0, 413);
    let exact = padded(question::BYTES_MAX);
    assert_eq!(ask(&state, Method::POST, "/api/explain", &exact).await.status, 200);
}
