"""Jobs spread over processes that end with the one that began them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from gnfactor.errors import DataError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def spread(
    work: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    workers: int,
    begin: Callable[[], None] | None = None,
    *,
    apart: bool = False,
) -> Iterator[tuple[_Job, _Result]]:
    """Jobs with their results in the order in which these come in; one worker works in this process, in order.

    Args:
        work: can be pickled, as jobs and results can.
        jobs: what to call it with.
        workers: processes at the same time.
        begin: called once in each process before its first job; can be pickled.
        apart: one worker, too, has a process of its own.

    Raises:
        DataError: a worker process died.
    """
    if workers == 1 and not apart:
        if begin is not None:
            begin()
        yield from ((job, work(job)) for job in jobs)
        return
    # One thread for each worker: small arrays gain nothing from more, and workers would fight for cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(begin,))
    try:
        waiting: dict[Future[_Result], _Job] = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died ({error}); run the same command again to go on, with fewer --workers if memory "
            "was short"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool after the jobs in work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin()


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
