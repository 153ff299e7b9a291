use std::{path::PathBuf, process::Command, time::Duration};

use bytes::Bytes;

use super::{s3::S3Options, *};

const NOW_MS: u64 = 1_795_132_800_000;

fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)).collect::<Vec<_>>().into()
}

/// What every store must do. `root` is a folder of names that nobody else uses.
async fn promises(blobs: &Blobs, root: &str) {
    let name = |name: &str| format!("{root}/{name}");
    what_was_put_is_read(blobs, &name).await;
    a_blob_is_made_once(blobs, &name).await;
    they_are_listed_in_order(blobs, root).await;
    what_is_not_there_is_said(blobs, &name).await;
}

async fn what_was_put_is_read(blobs: &Blobs, name: &impl Fn(&str) -> String) {
    for length in [0, 1, 4_096, 9_000_000] {
        let (name, content) = (name(&format!("length/{length}")), bytes(length, 7));
        assert_eq!(blobs.put_new(&name, content.clone()).await.unwrap(), Put::Made);
        assert_eq!(blobs.get(&name).await.unwrap(), content);
    }
    let (name, content) = (name("length/9000000"), bytes(9_000_000, 7));
    for range in [0..1, 0..9_000_000, 5_000_000..5_001_000, 8_999_999..9_000_000, 17..17] {
        let read = blobs.range(&name, range.clone()).await.unwrap();
        assert_eq!(read, content.slice(range.start as usize..range.end as usize), "{range:?}");
    }
    for range in [8_999_999..9_000_001, 9_000_000..9_000_001, 10_000_000..10_000_009] {
        let read = blobs.range(&name, range.clone()).await;
        assert!(matches!(read, Err(BlobError::Failed(_))), "{range:?}: {read:?}");
    }
}

async fn a_blob_is_made_once(blobs: &Blobs, name: &impl Fn(&str) -> String) {
    let name = name("once");
    let tries = (0..8u8).map(|n| {
        let name = &name;
        async move { (n, blobs.put_new(name, bytes(50_000, n)).await.unwrap()) }
    });
    let done = futures_util::future::join_all(tries).await;
    let made: Vec<_> = done.iter().filter(|(_, put)| *put == Put::Made).map(|(n, _)| *n).collect();
    assert_eq!(made.len(), 1, "{done:?}");
    assert_eq!(blobs.get(&name).await.unwrap(), bytes(50_000, made[0]), "the first one stays");
    blobs.delete(&name).await.unwrap();
    assert_eq!(blobs.get(&name).await, Err(BlobError::Absent(name.clone())));
    assert_eq!(blobs.put_new(&name, bytes(1, 1)).await.unwrap(), Put::Made);
}

async fn they_are_listed_in_order(blobs: &Blobs, root: &str) {
    let folder = format!("{root}/list");
    let mut names: Vec<_> = (0..25).map(|n| format!("{folder}/{:02}/blob-{n}", n % 4)).collect();
    for name in &names {
        blobs.put_new(name, bytes(name.len(), 0)).await.unwrap();
    }
    // Its name begins alike, but it is in no such folder.
    blobs.put_new(&format!("{root}/list-of-others"), Bytes::new()).await.unwrap();
    names.sort();
    let mut listed: Vec<Listed> = Vec::new();
    loop {
        let after = listed.last().map(|blob| blob.name.clone());
        let page = blobs.list(&folder, after.as_deref(), 10).await.unwrap();
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed.iter().map(|blob| &blob.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert!(listed.iter().all(|blob| blob.bytes == blob.name.len() as u64 && blob.at_ms > 1_700_000_000_000));
    assert_eq!(blobs.list(&format!("{root}/nowhere"), None, 10).await.unwrap(), []);
}

async fn what_is_not_there_is_said(blobs: &Blobs, name: &impl Fn(&str) -> String) {
    let absent = name("absent");
    assert_eq!(blobs.get(&absent).await, Err(BlobError::Absent(absent.clone())));
    assert_eq!(blobs.range(&absent, 3..4).await, Err(BlobError::Absent(absent.clone())));
    blobs.delete(&absent).await.unwrap();
    blobs.check().await.unwrap();
    for wrong in ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "ä"] {
        assert!(matches!(blobs.get(wrong).await, Err(BlobError::Failed(_))), "{wrong:?}");
    }
}

#[tokio::test]
async fn blobs_in_memory_keep_the_promises() {
    promises(&Blobs::memory(), "a").await;
}

#[tokio::test]
async fn blobs_in_a_folder_keep_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/blobs");
    let blobs = Blobs::local(&path, LinkKey::of("secret")).unwrap();
    promises(&blobs, "a").await;

    // What a crash leaves aside is no blob.
    std::fs::write(path.join("a/once#7"), "half of i").unwrap();
    assert!(blobs.list("a", None, 100).await.unwrap().iter().all(|blob| !blob.name.contains('#')));
    let again = Blobs::local(&path, LinkKey::of("secret")).unwrap();
    assert_eq!(again.get("a/once").await.unwrap(), bytes(1, 1));

    let address = again.signed_get("a/once", Duration::from_secs(60), NOW_MS).await.unwrap();
    assert_eq!(address, LinkKey::of("secret").sign("a/once", NOW_MS / 1_000 + 60));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Blobs::local(&file.join("blobs"), LinkKey::of("")).unwrap_err().to_string();
    assert!(refused.contains("file/blobs cannot be made"), "{refused}");
}

/// Against a real store. `make test` starts it; without it: `scripts/fleet/s3.sh start`, then
/// `cargo test -p tidings-server --lib s3:: -- --ignored`.
mod s3 {
    use super::*;

    fn endpoint() -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/s3.sh");
        let output = Command::new(script).arg("endpoint").output().expect("the script can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn options() -> S3Options {
        S3Options {
            endpoint: Some(endpoint()),
            bucket: "tidings".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "tidings".to_owned(),
            secret_access_key: "tidings-secret".to_owned(),
            allow_http: true,
        }
    }

    fn new_root() -> String {
        format!("test-{:016x}", rand::random::<u64>())
    }

    #[tokio::test]
    #[ignore = "needs a store: make test"]
    async fn blobs_in_a_bucket_keep_the_promises() {
        promises(&Blobs::s3(options()).unwrap(), &new_root()).await;
    }

    #[tokio::test]
    #[ignore = "needs a store: make test"]
    async fn a_signed_address_is_good_for_what_was_signed() {
        let blobs = Blobs::s3(options()).unwrap();
        let name = format!("{}/signed", new_root());
        blobs.put_new(&name, Bytes::from_static(b"for everybody")).await.unwrap();
        let address = blobs.signed_get(&name, Duration::from_secs(60), NOW_MS).await.unwrap();
        let get = |address: String| async move { crate::session::auth::get::get(&address).await };
        assert_eq!(get(address.clone()).await.unwrap(), "for everybody");
        let other = address.replace("/signed?", "/other?");
        assert!(matches!(get(other).await, Err(crate::session::auth::get::GetError::Status(403))));
        let unsigned = address.split_once('?').unwrap().0.to_owned();
        assert!(get(unsigned).await.is_err());
    }

    #[tokio::test]
    #[ignore = "needs a store: make test"]
    async fn a_wrong_setting_is_named() {
        let wrong = |alter: &dyn Fn(&mut S3Options)| {
            let mut options = options();
            alter(&mut options);
            Blobs::s3(options).unwrap()
        };
        let cases: [(Blobs, &str); 3] = [
            (wrong(&|options| options.bucket = "nowhere".to_owned()), "correct s3.bucket (NoSuchBucket)"),
            (wrong(&|options| options.access_key_id = "mallory".to_owned()), "correct s3.access_key_id"),
            (wrong(&|options| options.secret_access_key = "guess".to_owned()), "correct s3.secret_access_key"),
        ];
        for (blobs, advice) in cases {
            for outcome in [
                blobs.check().await,
                blobs.put_new("a", Bytes::from_static(b"a")).await.map(drop),
                blobs.get("a").await.map(drop),
                blobs.delete("a").await,
            ] {
                let error = outcome.unwrap_err();
                assert!(matches!(&error, BlobError::Refused { .. }), "{advice}: {error:?}");
                assert!(error.to_string().contains(advice), "{advice}: {error}");
                assert!(!error.to_string().contains("tidings-secret"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let options = S3Options {
        endpoint: Some(endpoint.clone()),
        bucket: "tidings".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: "a".to_owned(),
        secret_access_key: "b".to_owned(),
        allow_http: true,
    };
    let error = Blobs::s3(options).unwrap().check().await.unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains(&endpoint), "{error:?}");
}

/// A store that takes connections and says nothing: the call ends all the same, and so do those that wait for their turn.
#[tokio::test]
async fn a_store_that_does_not_answer_holds_nobody_for_ever() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = S3Options {
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        bucket: "tidings".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: "a".to_owned(),
        secret_access_key: "b".to_owned(),
        allow_http: true,
    };
    let mut blobs = Blobs::s3(options).unwrap();
    blobs.patience = Duration::from_millis(300);
    let calls = (0..REQUESTS + 4).map(|_| blobs.get("a"));
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().is_temporary()), "{outcomes:?}");
    assert_eq!(blobs.requests.available_permits(), REQUESTS, "nobody holds a turn");
}

#[test]
fn what_a_store_says_is_put_into_advice() {
    let answer = |code: &str| -> object_store::Error {
        let text = format!("Server returned non-2xx status code: 403: <Error><Code>{code}</Code></Error>");
        object_store::Error::Generic { store: "S3", source: text.into() }
    };
    for (code, advice) in [
        ("RequestTimeTooSkewed", "the clock of this machine"),
        ("AccessDenied", "s3:ListBucket"),
        ("AuthorizationHeaderMalformed", "s3.region"),
    ] {
        let error = BlobError::of("the bucket b", "a", &answer(code));
        assert!(
            error.to_string().starts_with("the bucket b refuses: ") && error.to_string().contains(advice),
            "{error}"
        );
    }
    let error = BlobError::of("the bucket b", "a", &answer("SlowDown"));
    assert!(error.is_temporary(), "{error:?}");
    let full = object_store::Error::Generic { store: "LocalFileSystem", source: "no space left on device".into() };
    assert!(matches!(BlobError::of("the folder f", "a", &full), BlobError::Failed(_)));
}
