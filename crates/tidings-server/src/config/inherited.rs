//! What sockets that this process inherited are called, as systemd says it: no setting, but of the environment all the same.

/// In the order of the sockets (sd_listen_fds_with_names(3)). To be asked before the sockets are taken.
pub fn inherited_names() -> Vec<String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    names.split(':').map(str::to_owned).collect()
}
