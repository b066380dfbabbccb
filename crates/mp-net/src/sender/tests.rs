use std::os::unix::net::UnixStream;
use std::sync::Arc;

use mp_layout::ErrorKind;
use rustix::io::Errno;

use super::Sender;

#[test]
fn a_machine_that_is_lost_is_the_end_and_no_timeout() {
    let (socket, _other) = UnixStream::pair().unwrap();
    let sender = Sender::new(Arc::new(socket.into()), 100);
    for error in [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH] {
        let error = sender.failed(error);
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}
