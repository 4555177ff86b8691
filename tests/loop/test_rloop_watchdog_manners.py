"""What the stall watchdog leaves alone: pipes, descriptors, faulthandler, signals, other threads.

Programs run in processes of their own (watched.py).
"""

from __future__ import annotations

from pathlib import Path

from watched import Program


def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    source = """
        import sys
        far, near = os.pipe()
        os.set_blocking(near, False)
        try:
            while True:
                os.write(near, bytes(65536))
        except BlockingIOError:
            pass
        os.set_blocking(near, True)
        rloop.watchdog(0.05, near)

        async def main():
            for _ in range(5):
                time.sleep(0.1)
                await asyncio.sleep(0)

        run(main())
        print("ran")
    """
    with Program(tmp_path, source) as program:
        assert program.finish().split() == ["ran"]
        assert program.errors == ""


def test_a_descriptor_that_is_another_file_by_now_is_left_alone(tmp_path: Path) -> None:
    source = f"""
        rloop.watchdog(0.2, {str(tmp_path / "reports.log")!r})
        from rloop import stall_watchdog
        fd = stall_watchdog._on[0]
        os.close(fd)
        near, far = socket.socketpair()
        os.dup2(near.fileno(), fd)

        def guilty():
            time.sleep(1000)

        async def main():
            stall(guilty)

        run(main())
        far.setblocking(False)
        try:
            print(far.recv(1000))
        except BlockingIOError:
            print("nothing")
    """
    with Program(tmp_path, source) as program:
        program.read_until("in guilty")
        program.go_on()
        assert program.finish().split() == ["nothing"]


def test_what_a_program_does_with_faulthandler_stays_its_own(tmp_path: Path) -> None:
    source = """
        import faulthandler
        last = signal.SIGRTMAX - 2
        taken = []
        signal.signal(last, lambda *_: taken.append(last))
        faulthandler.enable(open(os.devnull, "w"))
        mine = open("mine.log", "w+")
        faulthandler.register(signal.SIGUSR1, file=mine)
        rloop.watchdog(0.2)

        def guilty():
            re.match("(a+)+$", "a" * 100 + "b")

        async def main():
            stall(guilty)

        run(main())
        rloop.watchdog(0)
        assert faulthandler.is_enabled()
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), last)
        mine.seek(0)
        print(mine.read().count("most recent call first"), len(taken))
    """
    source = source.replace("mine.log", str(tmp_path / "mine.log"))
    with Program(tmp_path, source) as program:
        program.read_until(" in guilty\n")
        program.go_on()
        assert program.finish().split() == ["1", "1"]


def test_a_signal_that_the_program_takes_later_is_the_programs(tmp_path: Path) -> None:
    source = """
        rloop.watchdog(0.2)
        taken = []
        signal.signal(signal.SIGRTMAX - 2, lambda *_: taken.append(1))

        def guilty():
            re.match("(a+)+$", "a" * 100 + "b")

        async def main():
            stall(guilty)

        run(main())
        rloop.watchdog(0)
        print(len(taken))
        os.kill(os.getpid(), signal.SIGRTMAX - 2)
        print(len(taken))
    """
    with Program(tmp_path, source) as program:
        program.read_until("(the threads cannot be shown)")
        program.go_on()
        assert program.finish().split() == ["0", "1"]


def test_the_dump_interrupts_no_thread_of_the_program(tmp_path: Path) -> None:
    # pause(2) returns when a signal's handler has run in its thread.
    source = """
        import ctypes
        pause = ctypes.CDLL(None).pause

        def wait():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            pause()

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()

        def guilty():
            re.match("(a+)+$", "a" * 100 + "b")

        async def main():
            stall(guilty)

        run(main())
        print(waiting.is_alive())
    """
    with Program(tmp_path, source, RLOOP_WATCHDOG="0.2") as program:
        program.read_until(" in wait\n")
        program.read_until(" in guilty\n")
        program.go_on()
        assert program.finish().split() == ["True"]
