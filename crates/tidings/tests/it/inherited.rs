//! A socket that outlives the servers, as systemd hands it on: nobody is refused while one server ends and the next begins.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::server::serving;

/// Calls that wait in the queue.
const CALLS: usize = 50;

/// A server that inherits `listener` as its socket number 3. systemd does the same between fork and exec; here a shell does, which
/// then becomes the server and so keeps the process id that the environment names.
fn start(listener: &TcpListener, folder: &Path, listen: SocketAddr) -> Child {
    let server = serving(folder, &listen.to_string(), &[]);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=http LISTEN_PID=$$ exec "$@""#, "server"])
        .arg(server.get_program())
        .args(server.get_args())
        .stdin(OwnedFd::from(listener.try_clone().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell.spawn().unwrap()
}

fn await_ready(server: &mut Child, address: SocketAddr) {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), format!("listening on http://{address}"));
}

fn call(address: SocketAddr) -> TcpStream {
    let mut call = TcpStream::connect(address).expect("nobody is refused");
    call.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    call.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    call
}

fn is_answered(mut call: TcpStream) -> bool {
    let mut answer = String::new();
    call.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.0 200")
}

#[test]
fn who_calls_between_two_servers_waits_and_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, address) = (tempfile::tempdir().unwrap(), listener.local_addr().unwrap());
    let early = call(address);
    let mut server = start(&listener, folder.path(), address);
    await_ready(&mut server, address);
    assert!(is_answered(early), "it waited for the first server");
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    assert_eq!(server.wait().unwrap().code(), Some(0));

    let calls: Vec<_> = (0..CALLS).map(|_| call(address)).collect();
    let mut server = start(&listener, folder.path(), address);
    await_ready(&mut server, address);
    assert!(calls.into_iter().all(is_answered), "they waited for the second one");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_socket_where_nothing_is_set_to_listen_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = start(&listener, folder.path(), "127.0.0.1:0".parse().unwrap()).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&server.stderr);
    assert_eq!(server.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("\"http\" at {}", listener.local_addr().unwrap())), "{said}");
}
