//! Reads what `strace -f -ttt -y -xx` wrote: each system call once, when it was over.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// What changes files or makes changes durable. `read` and `pread` are left out: nothing here writes where it has read.
pub const CALLS: &str = "openat,close,fcntl,lseek,write,writev,pwrite64,pwritev,ftruncate,fallocate,rename,renameat,\
                         renameat2,unlink,unlinkat,rmdir,mkdir,fsync,fdatasync,sync_file_range,copy_file_range";

/// A call that was carried out.
#[derive(Debug)]
pub struct Call {
    /// When it returned, in microseconds of the wall clock; a `close`: when it began, for then its number is free.
    pub at_us: u64,
    pub name: String,
    pub arguments: String,
    /// Not negative.
    pub result: u64,
}

impl Call {
    /// The strings among the arguments, decoded.
    pub fn strings(&self) -> Vec<Vec<u8>> {
        // All is hexadecimal: no quotes inside.
        self.arguments.split('"').skip(1).step_by(2).map(decode).collect()
    }

    /// The number that the first argument begins with: a file descriptor.
    pub fn descriptor(&self) -> u64 {
        number(&self.arguments)
    }

    pub fn last_argument(&self) -> u64 {
        number(self.arguments.rsplit(", ").next().unwrap_or_default())
    }
}

pub fn read(path: &Path) -> impl Iterator<Item = Call> {
    let mut unfinished: HashMap<String, String> = HashMap::new();
    let lines = BufReader::new(File::open(path).unwrap()).lines().map(Result::unwrap);
    lines.filter_map(move |line| {
        let (thread, line) = line.trim_start().split_once(' ')?;
        let (at, text) = line.trim_start().split_once(' ')?;
        let at_us = (at.parse::<f64>().unwrap() * 1e6).round() as u64;
        let whole = if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            if begun.starts_with("close(") {
                return call(at_us, &format!("{begun}) = 0"));
            }
            unfinished.insert(thread.to_owned(), begun.to_owned());
            return None;
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let begun = unfinished.remove(thread)?;
            format!("{begun}{}", rest.split_once(" resumed>")?.1)
        } else {
            text.to_owned()
        };
        call(at_us, &whole)
    })
}

fn call(at_us: u64, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with(['-', '?']) {
        return None;
    }
    let arguments = arguments.trim_end().strip_suffix(')')?.to_owned();
    Some(Call { at_us, name: name.to_owned(), arguments, result: number(result) })
}

fn number(text: &str) -> u64 {
    text.bytes().take_while(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// `\x2f\x74` as bytes.
fn decode(text: &str) -> Vec<u8> {
    let digit = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'a' + 10 };
    text.as_bytes().chunks_exact(4).map(|part| digit(part[2]) << 4 | digit(part[3])).collect()
}
