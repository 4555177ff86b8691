"""Which of CPython's tests of asyncio are not run against other loops, each with its reason.

Data for conformance.py: patterns of fnmatch over `file.Class.test`. An exclusion is a test of what
asyncio keeps private: it patches, calls or looks at an attribute, a module's global name or a mock
that only asyncio's own selector loop has. A test that our loop merely fails is never here. On
asyncio nothing is excluded. `conformance.py --excluded` runs what is excluded, for whoever doubts.
Checked on CPython 3.11.7, 3.12.1, 3.13.0, 3.13.18, 3.14.10 and 3.15.2; a name that a version lacks
does no harm.
"""

# Tests that asyncio runs once for each kind of selector, which is one and the same run for a loop
# that has none: EPollEventLoopTests stays.
DUPLICATES = {
    "*.SelectEventLoopTests.*": "the same tests as EPollEventLoopTests, with another selector",
    "*.PollEventLoopTests.*": "the same tests as EPollEventLoopTests, with another selector",
}

_MOCKED = "test_base_events.BaseEventLoopTests."
_BASE = "test_base_events.BaseEventLoopWithSelectorTests."
_SIGNALS = "test_unix_events.SelectorEventLoopSignalTests."
_SENDFILE = "test_unix_events.SelectorEventLoopUnixSockSendfileTests."

_SIGNAL_MODULE = (
    "replaces the name `signal` in asyncio.unix_events by a mock and asserts what asyncio's loop "
    "called on it, or that the loop met the mock's errors; another loop imports signal itself"
)
_SIGNAL_HANDLERS = "reads or writes _signal_handlers, the private table of asyncio's loop"
_SENDFILE_IMPL = (
    "calls _sock_sendfile_native_impl, a step inside asyncio's sock_sendfile, and looks into "
    "loop._selector"
)
_MOCK_OF_A_SOCKET = (
    "has asyncio's transport read from and write to a mock of a socket; another loop's asks the "
    "kernel for the descriptor, which nobody has opened"
)

EXCLUSIONS = {
    # --- test_base_events: base_events with a selector loop below it -----------------------------
    _BASE + "test_accept_connection_*": (
        "calls _accept_connection, which asyncio's selector loop has for its listening sockets, "
        "with a mock of a socket"
    ),
    _BASE + "test_create_connection_bluetooth": (
        "replaces the name `socket` in asyncio.base_events and connects a mock of a socket; "
        "another loop's resolver imports socket itself"
    ),
    _MOCKED + "test_create_connection_happy_eyeballs": _MOCK_OF_A_SOCKET,
    _MOCKED + "test_create_connection_happy_eyeballs_ipv4_only": _MOCK_OF_A_SOCKET,
    _BASE + "test_create_datagram_endpoint_no_addrinfo": (
        "replaces the name `socket` in asyncio.base_events, so that its getaddrinfo finds nothing; "
        "another loop's resolver imports socket itself"
    ),
    _BASE + "test_create_datagram_endpoint_sock_unix": (
        "looks at transport._sock; the public way is get_extra_info('socket')"
    ),
    _BASE + "test_log_slow_callbacks": (
        "replaces the name `logger` in asyncio.base_events; another loop writes the same lines to "
        "the same logger under a name of its own"
    ),
    # --- test_ssl and test_sslproto ---------------------------------------------------------------
    "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket": (
        "replaces transport._sock and reads _read_ready_cb, private attributes of asyncio's "
        "selector transports; test_tls_ends.py closes with megabytes that the peer has yet to read"
    ),
    "test_sslproto.SslProtoHandshakeTests.test_connection_lost_when_busy": (
        "calls _make_socket_transport with a mock of a socket, whose descriptor is none; "
        "test_tls_upgrade.py resets a real one"
    ),
    # --- test_subprocess --------------------------------------------------------------------------
    "test_subprocess.GenericWatcherTests.test_create_subprocess_fails_with_inactive_watcher": (
        "asserts the calls of a mock of a child watcher, which other loops do not use"
    ),
    "test_subprocess.Subprocess*WatcherTests.test_watcher_implementation": (
        "looks at _watcher, the private child watcher of asyncio's loop"
    ),
    "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published": (
        "joins a thread of loop._watcher; tests/loop/test_subprocesses.py joins ours: "
        "test_a_thread_that_waits_leaves_the_child_to_the_loop"
    ),
    # --- test_unix_events -------------------------------------------------------------------------
    _SIGNALS + "test_check_signal": "calls _check_signal, a private method of asyncio's loop",
    _SIGNALS + "test_handle_signal_*": (
        "calls _handle_signal, by which asyncio's loop learns of a signal from its self-pipe"
    ),
    _SIGNALS + "test_add_signal_handler": _SIGNAL_HANDLERS,
    _SIGNALS + "test_add_signal_handler_setup_error": _SIGNAL_MODULE,
    _SIGNALS + "test_add_signal_handler_install_error*": _SIGNAL_MODULE,
    _SIGNALS + "test_remove_signal_handler": _SIGNAL_MODULE,
    _SIGNALS + "test_remove_signal_handler_2": _SIGNAL_HANDLERS,
    _SIGNALS + "test_remove_signal_handler_error*": _SIGNAL_MODULE,
    _SIGNALS + "test_close": _SIGNAL_HANDLERS,
    _SIGNALS + "test_close_on_finalizing": _SIGNAL_HANDLERS,
    _SENDFILE + "test_sock_sendfile_not_available": (
        "replaces the name `os` in asyncio.unix_events by one without sendfile"
    ),
    _SENDFILE + "test_sock_sendfile_cancel[12]": _SENDFILE_IMPL,
    _SENDFILE + "test_sock_sendfile_blocking_error": _SENDFILE_IMPL,
    _SENDFILE + "test_sock_sendfile_os_error_*": _SENDFILE_IMPL,
    _SENDFILE + "test_sock_sendfile_exception": _SENDFILE_IMPL,
}
