//! gRPC through the proxy: calls of all four kinds by the library that people use, and deadlines.

use balance_testkit::http2::{END_HEADERS, END_STREAM, HEADERS};
use balance_testkit::{ConfiguredProgram, Origin, Script};

use crate::http2::raw::RawHttp2;
use crate::programs::{peers, python_with};
use crate::subject::{Config, wait_for_cause, wait_until};

/// Every method echoes; messages are bytes.
const SERVER: &str = r"
import sys, threading
sys.path.insert(0, sys.argv[2])
import grpc
from concurrent import futures
same = lambda message: message
# grpc.health.v1.HealthCheckResponse
SERVING, NOT_SERVING = b'\x08\x01', b'\x08\x02'
def unary(message, call):
    call.set_trailing_metadata((('x-behind', 'kept'),))
    return message
def fail(message, call):
    call.abort(grpc.StatusCode.NOT_FOUND, 'n\u00f6 such thing')
waiting = set()
def wait_for_end(call):
    ended = threading.Event()
    waiting.add(ended)
    if call.add_callback(ended.set):
        ended.wait()
    waiting.remove(ended)
def wait(message, call):
    wait_for_end(call)
    return message
def watch(message, call):
    yield NOT_SERVING
    yield SERVING
    wait_for_end(call)
handlers = {
    'Unary': grpc.unary_unary_rpc_method_handler(unary, same, same),
    'Fail': grpc.unary_unary_rpc_method_handler(fail, same, same),
    'Wait': grpc.unary_unary_rpc_method_handler(wait, same, same),
    'Waiting': grpc.unary_unary_rpc_method_handler(lambda message, call: b'%d' % len(waiting), same, same),
    'Check': grpc.unary_unary_rpc_method_handler(lambda message, call: SERVING, same, same),
    'Watch': grpc.unary_stream_rpc_method_handler(watch, same, same),
    'Download': grpc.unary_stream_rpc_method_handler(lambda one, call: (one for _ in range(50)), same, same),
    'Upload': grpc.stream_unary_rpc_method_handler(lambda all, call: b''.join(all), same, same),
    'Both': grpc.stream_stream_rpc_method_handler(lambda all, call: (one for one in all), same, same),
}
class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return handlers.get(details.method.rsplit('/', 1)[1])
server = grpc.server(futures.ThreadPoolExecutor(16), options=[('grpc.max_receive_message_length', -1)])
server.add_generic_rpc_handlers((Service(),))
assert server.add_insecure_port('127.0.0.1:' + sys.argv[1])
server.start()
server.wait_for_termination()
";

const CLIENT: &str = r"
import grpc, queue, sys, time
same = lambda message: message
channel = grpc.insecure_channel(sys.argv[1], options=[('grpc.max_receive_message_length', -1)])
unary = channel.unary_unary('/test.Echo/Unary', same, same)
answer, call = unary.with_call(b'one', timeout=60)
assert (answer, call.code()) == (b'one', grpc.StatusCode.OK)
assert ('x-behind', 'kept') in [tuple(each) for each in call.trailing_metadata()]
def refused(method, code, timeout):
    try:
        channel.unary_unary('/test.Echo/' + method, same, same)(b'', timeout=timeout)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise SystemExit(method)
assert refused('Fail', grpc.StatusCode.NOT_FOUND, 60) == 'n\u00f6 such thing'
refused('NoSuchMethod', grpc.StatusCode.UNIMPLEMENTED, 60)
refused('Wait', grpc.StatusCode.DEADLINE_EXCEEDED, 0.3)
assert list(channel.unary_stream('/test.Echo/Download', same, same)(b'x', timeout=60)) == [b'x'] * 50
parts = [b'%d,' % number for number in range(100)]
assert channel.stream_unary('/test.Echo/Upload', same, same)(iter(parts), timeout=60) == b''.join(parts)
# Each message is sent when the answer to the one before is there.
asked = queue.Queue()
answers = channel.stream_stream('/test.Echo/Both', same, same)(iter(asked.get, None), timeout=60)
for number in range(20):
    asked.put(b'%d' % number)
    assert next(answers) == b'%d' % number
asked.put(None)
assert list(answers) == []
large = bytes(10_000_000)
assert unary(large, timeout=60) == large
waiting = channel.unary_unary('/test.Echo/Wait', same, same).future(b'')
waiting.cancel()
assert waiting.cancelled()
# Of the service `echo`, by grpc.health.v1.
named = b'\x0a\x04echo'
assert channel.unary_unary('/grpc.health.v1.Health/Check', same, same)(named, timeout=60) == b'\x08\x01'
watch = channel.unary_stream('/grpc.health.v1.Health/Watch', same, same)(named, timeout=60)
assert [next(watch), next(watch)] == [b'\x08\x02', b'\x08\x01']
watch.cancel()
# The server learns of every caller that waits no more.
until = time.monotonic() + 60
while channel.unary_unary('/test.Echo/Waiting', same, same)(b'', timeout=60) != b'0':
    assert time.monotonic() < until, 'the server goes on'
    time.sleep(0.02)
calls = [unary.future(b'%d' % number, timeout=60) for number in range(200)]
assert [call.result() for call in calls] == [b'%d' % number for number in range(200)]
print('served')
";

#[test]
fn calls_of_all_kinds() {
    let Some(mut python) = python_with("grpc") else {
        return;
    };
    let packages = peers().join("python").display().to_string();
    let arguments = ["-c", SERVER, "@PORT@", &packages];
    let server = ConfiguredProgram::with_arguments("python3", &arguments).unwrap();
    let process = Config::http(&[server.addr()])
        .with_pool("protocol: h2")
        .start();
    let web = process.listener("web").to_string();
    let output = python.args(["-c", CLIENT, &web]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.trim(), "served", "{complained}");
}

/// The caller would stop waiting: it is told so, and the backend need not go on.
#[test]
fn a_call_ends_when_its_caller_stops_waiting() {
    let origin = Origin::answering(Script::never());
    let process = Config::http(&[origin.addr()])
        .with("timeouts: { first_byte: 1h, read: 1h }")
        .start();
    let mut client = RawHttp2::connect(process.listener("web"));
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-timeout", "300m"),
    ];
    let stream = client.begin("POST", "/s/m", &fields, END_STREAM);
    let head = client.read_kind(HEADERS);
    assert_eq!(
        (head.stream, head.flags),
        (stream, END_HEADERS | END_STREAM)
    );
    let text = String::from_utf8_lossy(&head.payload).into_owned();
    assert!(text.contains("grpc-status\u{1}4"), "{text}");
    wait_for_cause(&process, "http_response_timeout", 1);
    origin.wait_for_open_connections(0);
    // What is no call waits as long as it may.
    let fields = [("content-type", "text/plain"), ("grpc-timeout", "1m")];
    client.begin("POST", "/s/m", &fields, END_STREAM);
    wait_until(|| origin.requests().len() == 2, "the other one is asked");
    assert_eq!(origin.requests()[1].header("grpc-timeout"), Some("1m"));
}
