//! The admin socket: moved, kept, refused, and what its connections are answered.

use super::{AdminListener, Planned};
use crate::admin::tests::state;
use crate::config::reload::AdminSocket;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn listening() -> (AdminListener, SocketAddr) {
    let mut listener = AdminListener::new(state());
    listener.plan(any(), true).unwrap();
    listener.commit();
    let address = listener.address().borrow().unwrap();
    (listener, address)
}

async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let (_listener, address) = listening();
    let ask = async |method: &str| {
        let text =
            format!("{method} /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        ask(address, &text).await
    };
    let (get, head) = (ask("GET").await, ask("HEAD").await);
    assert!(get.starts_with("HTTP/1.1 200 OK\r\n") && get.ends_with("\r\n\r\nok\n"), "{get}");
    assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn file_descriptors_are_held_back_before_the_first_client_can_take_them() {
    let mut listener = AdminListener::new(state());
    // What is planned is taken into use after the listeners of the proxy are.
    listener.plan(any(), true).unwrap();
    let Some(Planned::Move(_, _, spares)) = &listener.planned else { panic!("nothing is planned") };
    assert!(spares.give_one());
}

#[tokio::test]
async fn a_planned_address_that_was_not_taken_into_use_can_be_planned_again() {
    let (mut listener, _) = listening();
    let free = std::net::TcpListener::bind(any()).unwrap().local_addr().unwrap();
    listener.plan(free, true).unwrap();
    listener.plan(free, true).unwrap();
    listener.commit();
    assert_eq!(*listener.address().borrow(), Some(free));
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_only_if_somebody_asked_for_it() {
    let (mut listener, address) = listening();
    let taken = std::net::TcpListener::bind(any()).unwrap();
    let other = taken.local_addr().unwrap();
    assert!(listener.plan(other, true).is_err());
    listener.commit();
    assert_eq!(*listener.address().borrow(), Some(address));
    listener.plan(other, false).unwrap();
    listener.commit();
    assert_eq!(*listener.address().borrow(), None);
}

#[tokio::test]
async fn a_listener_can_move_to_every_address_under_its_port() {
    let (mut listener, address) = listening();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    listener.plan(everywhere, true).unwrap();
    // A change that is refused leaves the one in use alone.
    listener.abandon();
    let request = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(ask(address, request).await.ends_with("ok\n"));
    listener.plan(everywhere, true).unwrap();
    listener.commit();
    assert_eq!(*listener.address().borrow(), Some(everywhere));
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
    assert!(ask(elsewhere, request).await.ends_with("ok\n"));
    // Another process still hears that the port is taken.
    assert!(std::net::TcpListener::bind(everywhere).is_err());
    assert!(std::net::TcpListener::bind(address).is_err());
}

#[tokio::test]
async fn a_moved_listener_finishes_what_it_has_and_lets_its_address_go() {
    let (mut listener, address) = listening();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    let free = std::net::TcpListener::bind(any()).unwrap().local_addr().unwrap();
    listener.plan(free, true).unwrap();
    listener.commit();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("ok\n"), "{rest}");
    assert!(TcpStream::connect(free).await.is_ok());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
