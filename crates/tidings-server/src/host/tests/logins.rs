//! Signing a device out voids what was given to it before, and nothing that is given afterwards, whatever the clock says.

use std::sync::Arc;

use tidings_proto::{Code, DeviceId, frames::client::Hello};

use crate::{
    config::Config,
    home::event::HomeChange,
    journal::memory::MemoryJournal,
    session::{
        auth::{Auth, identify, log_in, login_ms},
        inspect,
        reply::{Answer, Reply},
    },
    tables::memory::MemoryTables,
};

use super::{Rig, code, user};

#[tokio::test]
async fn who_logs_in_after_being_signed_out_is_let_in_at_once() {
    let rig = Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
    let auth = Auth::new(&Config::default().auth, "secret", 0).await.expect("no keys are read");
    let ada = user("ada");
    let phone = DeviceId::new("phone").expect("a name");
    let hello = Hello { username: Some("ada".to_owned()), device: Some(phone.clone()), ..Hello::default() };
    rig.device("ada", "phone").await;
    // It was signed out in this very millisecond, or the clock was set back since.
    let revoked_ms = rig.host.clock.unix_ms() + 1_000_000;
    let old = auth.open_token(&ada, &phone, revoked_ms).expect("the mode is open");
    for _ in 0..2 {
        let (reply, answer) = Reply::to_call();
        let change = HomeChange::DeviceRevoked { device: phone.clone(), at_ms: revoked_ms };
        rig.host.change_home(&ada, change, reply).await;
        assert_eq!(answer.await, Ok(Answer::Done));

        let now_ms = rig.host.clock.unix_ms();
        let identity = identify(&auth, &hello, None, now_ms).await.expect("a username is enough");
        let caller = log_in(&rig.host, &identity).await.expect("nothing was given to it before");
        assert_eq!(inspect::devices(&caller).len(), 1, "it is back");
        let token = auth.open_token(&ada, &phone, login_ms(&caller, now_ms)).expect("the mode is open");
        let shown = async |token: &str| log_in(&rig.host, &auth.verify(token, now_ms).await.expect("ours")).await;
        shown(&token).await.expect("the token is newer");
        let Err(refused) = shown(&old).await else { panic!("the token is older") };
        assert_eq!(code(&refused), Some(Code::Unauthenticated));
    }
    rig.crash().await;
}
