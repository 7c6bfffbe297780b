//! Deciding allocates nothing, whatever a table asks and whatever a request has. Alone in its process, because the
//! allocator is the process's.
#![expect(
    unsafe_code,
    clippy::unwrap_used,
    reason = "an allocator that counts is an unsafe trait; a test stops when its own input is wrong"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use balance_core::RouteId;
use balance_route::{
    Facts, HostPattern, NamedMatch, PathMatch, Regex, RouteSpec, RouteTable, ValueMatch,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps alloc's contract, and it is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from System.alloc with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

struct Request {
    host: String,
    path: String,
    query: String,
    headers: Vec<(&'static [u8], &'static [u8])>,
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }

    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]> {
        let lines = self.headers.iter();
        lines
            .filter(move |(name, _)| *name == name_lower)
            .map(|(_, value)| *value)
    }
}

/// Routes of all kinds in turn, so that a table of any size has all of them.
fn route(id: u32) -> RouteSpec {
    let regex = |pattern: &str| Regex::compile(pattern).unwrap();
    let named = |name: &str, value| {
        vec![NamedMatch {
            name: name.to_owned(),
            value,
        }]
    };
    let host = match id % 3 {
        0 => format!("s{id}.example.com"),
        1 => format!("*.s{id}.example.com"),
        _ => "*".to_owned(),
    };
    let mut spec = RouteSpec {
        hosts: vec![HostPattern::parse(&host).unwrap()],
        ..RouteSpec::any(RouteId(id))
    };
    match id % 7 {
        0 => spec.path = PathMatch::SegmentPrefix(format!("/s{id}")),
        1 => spec.path = PathMatch::Exact(format!("/s{id}/users")),
        2 => spec.path = PathMatch::Regex(regex(&format!("/s{id}/(users|teams)/[0-9]+"))),
        3 => {
            spec.headers = named(
                "x-tenant",
                ValueMatch::Regex(regex(&format!("t{id}(-.*)?"))),
            )
        }
        4 => spec.query = named("tenant", ValueMatch::Exact(format!("t{id}"))),
        5 => spec.cookies = named("tenant", ValueMatch::Regex(regex(&format!("t{id}|x")))),
        _ => spec.headers = named("x-debug", ValueMatch::Present),
    }
    spec
}

#[test]
fn deciding_allocates_nothing() {
    for routes in [1, 8, 9, 500] {
        let table = RouteTable::compile((0..routes).map(route).collect()).unwrap();
        let requests: Vec<Request> = (0..routes)
            .map(|id| Request {
                host: format!("deep.below.S{id}.example.com"),
                path: format!("/s{id}/users/42"),
                query: format!("a&b=c&tenant=t{id}"),
                headers: vec![
                    (b"x-tenant", b"t10-blue"),
                    (b"cookie", b"a=b; tenant=t12; c"),
                    (b"cookie", b"d=e"),
                ],
            })
            .collect();
        let mut decided = 0;
        let decide = || {
            for request in &requests {
                decided += usize::from(table.decide(black_box(request)).is_some());
            }
        };
        // The first request counts as much as any other: nothing is built late.
        assert_eq!(allocations(decide), 0, "{routes} routes");
        assert!(routes < 9 || decided > 0, "something must match");
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}
