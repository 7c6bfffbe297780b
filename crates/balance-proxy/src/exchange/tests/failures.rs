//! What a backend or a client does wrong while an exchange runs.

use balance_core::{Cause, Limits};
use balance_proto::{BodyLength, ResponseBody};

use super::super::memory::{Client, Connect, Connection, Reply, Sends, Step, Takes};
use super::super::sides::{ClientError, ClientEvent};
use super::setup::{Setup, play};
use super::{
    REQUEST, UPLOAD, after, answers, head, interim, partial_head, play_one, response, sum,
};
use Connect::Opens;
use Step::{Do, Later, Never, Until};

/// What a backend does wrong, before and after its head.
#[test]
fn a_response_that_goes_wrong_fails_visibly() {
    let (closes, garbage) = (Do(Reply::Closes), Do(Reply::Garbage));
    let own_502 = ["a closed", "client got own 502"];
    let broken = ["client got 200", "client got [par]", "a closed"];
    let until_close = Do(Reply::Head(response(200), ResponseBody::UntilClose, "par"));
    let chunked = Do(Reply::Head(response(200), ResponseBody::Chunked, "par"));
    for (name, replies, next, cause, status, expected) in [
        (
            "closes at once",
            vec![closes.clone()],
            "keep",
            Cause::ConnectionTerminated,
            502,
            &own_502[..],
        ),
        (
            "garbage",
            vec![garbage.clone()],
            "keep",
            Cause::HttpProtocolError,
            502,
            &own_502,
        ),
        (
            "closes after a 103",
            vec![interim(103), closes.clone()],
            "keep",
            Cause::HttpResponseIncomplete,
            502,
            &["client got 103", "a closed", "client got own 502"],
        ),
        (
            "breaks off",
            vec![partial_head(200, 9, "par"), Later, closes.clone()],
            "abort",
            Cause::HttpResponseIncomplete,
            200,
            &broken,
        ),
        (
            "breaks off in chunks",
            vec![chunked, closes.clone()],
            "abort",
            Cause::HttpResponseIncomplete,
            200,
            &broken,
        ),
        (
            "garbage in the body",
            vec![partial_head(200, 9, "par"), garbage],
            "abort",
            Cause::HttpProtocolError,
            200,
            &broken,
        ),
        (
            "ends by closing, as announced",
            vec![until_close, Later, closes],
            "keep",
            Cause::Completed,
            200,
            &[
                "client got 200",
                "client got [par]",
                "client got end",
                "a closed",
            ],
        ),
    ] {
        let seen = play_one(Client::get("/"), Connection::new(replies));
        seen.check(name, &sum(next, cause, status), &after(REQUEST, expected));
        // A backend's gate only learns from connects.
        assert_eq!(seen.failures("a"), 0, "{name}");
    }
}

/// What a client does wrong, before the response and in it (robustness BE-04).
#[test]
fn a_client_that_leaves_is_not_the_backends_failure() {
    let gone = |line| [Until(line), Do(ClientEvent::Gone)];
    let silent = || Connection::new([Never]);
    let awaiting = Client::get("/").with_events(gone("a got GET example.com/"));
    let seen = play_one(awaiting, silent());
    seen.check(
        "awaiting",
        &sum("abort", Cause::ClientClosed, 0),
        &after(REQUEST, &["a closed"]),
    );
    assert_eq!(seen.failures("a"), 0);
    let streaming = Client::get("/").with_events(gone("client got [par]"));
    let connection = Connection::new([partial_head(200, 9, "par"), Never]);
    play_one(streaming, connection).check(
        "streaming",
        &sum("abort", Cause::ClientClosed, 200),
        &after(REQUEST, &["client got 200", "client got [par]", "a closed"]),
    );
    let unread = Client::get("/").with_takes([Do(Takes::One), Later, Do(Takes::Fails)]);
    play_one(unread, answers("hello")).check(
        "a failed write",
        &sum("abort", Cause::ClientClosed, 200),
        &after(REQUEST, &["client got 200", "a closed"]),
    );
    let uploading = Client::post("/").with_body(
        BodyLength::Exact(9),
        [
            Do(Sends::Piece("part")),
            Do(Sends::Fails(ClientError::Closed)),
        ],
    );
    play_one(uploading, silent()).check(
        "uploading",
        &sum("abort", Cause::ClientClosed, 0),
        &after(UPLOAD, &["a got [part]", "a closed"]),
    );
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let setup = || Setup {
        limits: Limits {
            body_bytes_max: 4,
            ..Limits::default()
        },
        ..Setup::default()
    };
    // Announced: no backend is asked, and what has arrived of it is skipped.
    for (upload, next, line) in [
        (vec![Do(Sends::Last("hello"))], "keep", "client got own 413"),
        (
            vec![Do(Sends::Piece("he")), Never],
            "linger",
            "client got own 413 close",
        ),
    ] {
        let client = Client::post("/").with_body(BodyLength::Exact(5), upload);
        let seen = play(setup(), client, Vec::new());
        seen.check(next, &sum(next, Cause::RequestTooLarge, 413), &[line]);
    }
    let fits = Client::post("/").with_body(BodyLength::Exact(4), [Do(Sends::Last("four"))]);
    let connection = Connection::new([Until("a got end"), head(200, "")]);
    let seen = play(setup(), fits, vec![("a", Opens(connection))]);
    assert_eq!(seen.sum, sum("keep", Cause::Completed, 200));
}

/// Chunked bodies show their size only as they come.
#[test]
fn a_body_that_goes_wrong_on_its_way_is_answered() {
    for (error, cause, status) in [
        (ClientError::TooLarge, Cause::RequestTooLarge, 413),
        (ClientError::Malformed, Cause::HttpRequestError, 400),
    ] {
        let upload = [
            Do(Sends::Piece("part")),
            Later,
            Do(Sends::Fails(error)),
            Never,
        ];
        let client = Client::post("/").with_body(BodyLength::Chunked, upload);
        let own = format!("client got own {status} close");
        play_one(client, Connection::new([Never])).check(
            cause.name(),
            &sum("linger", cause, status),
            &[
                "a opened",
                "a got POST example.com/",
                "a got [part]",
                "a closed",
                &own,
            ],
        );
    }
}
