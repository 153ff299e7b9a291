//! The server as its clients see it: each test starts one on a free port, with a data folder of its own.

mod access;
mod contract;
mod http_client;
mod login_service;
mod mqtt_client;
mod nodes;
mod support;

mod access_frames;
mod access_http;
mod crowd;
mod damage;
mod devices;
mod documents;
mod door;
mod http_admin;
mod http_calls;
mod http_live;
mod limits;
mod login;
mod login_secrets;
mod metrics;
mod mqtt_login;
mod mqtt_rumqttc;
mod mqtt_sessions;
mod mqtt_talk;
mod mqtt_wrong;
mod people;
mod presence;
mod rates;
mod relay;
mod relay_ends;
mod restart;
mod talk;
