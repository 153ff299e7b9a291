//! Which of the test's own processes has opened a line: the system knows (proc(5)).

use std::{fs, net::SocketAddr};

/// The place of the first word in `marks` that stands in the command of the process at the other end of a line from `address`.
pub fn owner(address: SocketAddr, marks: &[String]) -> Option<usize> {
    let inode = inode(address)?;
    let socket = format!("socket:[{inode}]");
    let holds = |id: &u32| {
        let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    };
    let command = fs::read(format!("/proc/{}/cmdline", children().into_iter().find(holds)?)).ok()?;
    let command = String::from_utf8_lossy(&command).into_owned();
    marks.iter().position(|mark| command.contains(mark.as_str()))
}

/// The number of the socket that is bound to `address`, from the system's table of IPv4 lines.
fn inode(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| words[1] == local)?;
    Some(line.get(9)?.to_string())
}

fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_line_is_known_by_the_process_that_opened_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let marks = ["somebody-else".to_owned(), "the-one-who-calls".to_owned()];
        // It holds the line until it is told to end.
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r word");
        let mut caller = Command::new("bash");
        let mut caller = caller.args(["-c", &script, &marks[1]]).stdin(Stdio::piped()).spawn().unwrap();
        let (_line, from) = listener.accept().unwrap();
        assert_eq!(owner(from, &marks), Some(1));
        drop(caller.stdin.take());
        caller.wait().unwrap();
        assert_eq!(owner(from, &marks), None);
    }
}
