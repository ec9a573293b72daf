"""The tests that do not run on the model, and the reason of each.

A test that needs more than TCP over IPv4 is skipped when the model refuses that feature
(sim_peers.LacksError, MISSING). The tests that this file lists need other features of the system.
"""

import errno
import sys

THREADS = "one thread at a time runs the ports of a model, and its waits take no time"
PROCESSES = "other processes reach no model"
TIME = "the test measures real time, which passes in no model"
DESCRIPTORS = "no descriptor stands behind a modelled socket"
KERNEL = "the test is of this kernel's behaviour"
OWN = "the test makes models of its own"

MISSING = {
    errno.EAFNOSUPPORT: "families and types besides TCP over IPv4",
    errno.ENOPROTOOPT: "options besides sizes, Nagle and SO_REUSEADDR",
    errno.EOPNOTSUPP: "disconnects",
}
"""The errors by which a model refuses a feature, and the names of these features."""

FILES = {
    "test_adopt": DESCRIPTORS,
    "test_ancillary": "ancillary data",
    "test_bench": PROCESSES,
    "test_blocking": THREADS,
    "test_by_name": "names are looked up by other threads",
    "test_cli": PROCESSES,
    "test_control": PROCESSES,
    "test_disconnect": "disconnects",
    "test_docs": THREADS,
    "test_fork": PROCESSES,
    "test_fuzz": OWN,
    "test_fuzz_datagrams": "datagrams",
    "test_fuzz_model": OWN,
    "test_handles": DESCRIPTORS,
    "test_icmp": "datagrams",
    "test_interpreters": PROCESSES,
    "test_kernel_facts": KERNEL,
    "test_many_targets": "datagrams",
    "test_matrix": KERNEL,
    "test_matrix_model": KERNEL,
    "test_pipes": DESCRIPTORS,
    "test_plan": OWN,
    "test_prometheus": "the exporter's ports are made by name",
    "test_receive_from": "datagrams",
    "test_routines": DESCRIPTORS,
    "test_scale": PROCESSES,
    "test_sendto": "datagrams",
    "test_shared_files": DESCRIPTORS,
    "test_signals": THREADS,
    "test_styles": PROCESSES,
    "test_threads": THREADS,
    "test_top": PROCESSES,
    "test_truth": KERNEL,
    "test_udp": "datagrams",
    "test_watch": DESCRIPTORS,
    "test_workers": THREADS,
}
"""Files without a test that runs on the model."""

TESTS = {
    "test_accept::test_accept_each_survives_the_lack_of_descriptors": DESCRIPTORS,
    "test_accept::test_accepted_sockets_are_close_on_exec": DESCRIPTORS,
    "test_accept::test_close_while_accepting_pauses": DESCRIPTORS,
    "test_accept::test_no_descriptor_for_a_single_accept": DESCRIPTORS,
    "test_bad_input::test_adopting_what_is_no_socket": DESCRIPTORS,
    "test_close::test_close_deadline": TIME,
    "test_close::test_closing_completes_and_sends_the_end": DESCRIPTORS,
    "test_close::test_descriptor_reuse_crosses_nothing": DESCRIPTORS,
    "test_close::test_late_events_do_not_reach_a_reused_descriptor": DESCRIPTORS,
    "test_connect::test_a_duplicate_sees_no_attempt": DESCRIPTORS,
    "test_contract::test_probe_and_features": "probe() describes the system's backends",
    "test_events::test_close_of_an_event": THREADS,
    "test_events::test_collected_with_its_port": DESCRIPTORS,
    "test_events::test_event_set_by_a_thread_wakes_who_turns_a_port": THREADS,
    "test_events::test_event_while_another_thread_runs_the_port": THREADS,
    "test_events::test_interrupt_ends_every_wait": TIME,
    "test_events::test_many_threads_and_events": THREADS,
    "test_half_closed::test_no_thread_waits": KERNEL,
    "test_half_closed::test_waits_for_errors_alone": KERNEL,
    "test_half_closed::test_waits_for_errors_of_what_is_over": KERNEL,
    "test_mistakes::test_a_routine_without_an_alertable_wait": DESCRIPTORS,
    "test_options::test_another_process_serves_a_duplicate": DESCRIPTORS,
    "test_options::test_duplicate_is_the_same_connection": DESCRIPTORS,
    "test_port_close::test_port_close_deadline": TIME,
    "test_port_close::test_port_close_from_another_thread": THREADS,
    "test_port_close::test_port_close_sends_what_is_queued": THREADS,
    "test_results::test_a_wait_gives_way_between_two_callbacks": THREADS,
    "test_results::test_interrupt_ends_a_result": TIME,
    "test_results::test_result_runs_the_port": THREADS,
    "test_results::test_result_when_the_runner_leaves": THREADS,
    "test_results::test_result_while_another_thread_runs_the_port": THREADS,
    "test_results::test_running_takes_over_from_a_wait": THREADS,
    "test_results::test_the_end_wakes_who_waits": THREADS,
    "test_results::test_two_threads_wait_for_one_port": THREADS,
    "test_send_file::test_no_signal": DESCRIPTORS,
    "test_send_file::test_other_sockets_have_their_turn": DESCRIPTORS,
    "test_skip_done::test_attribute_and_port_default": DESCRIPTORS,
    "test_socket_tuning::test_a_size_beyond_the_limit_is_cut": "limits of the system",
    "test_socket_tuning::test_only_tcp_has_nagle_unix": "AF_UNIX",
    "test_socket_tuning::test_zero_is_allowed": "limits of the system",
    "test_stats::test_latency_counts_what_was_handed_out": TIME,
    "test_stats::test_latency_of_the_slow_is_at_least_their_wait": TIME,
    "test_strategies::test_direct_sends_or_says_that_it_cannot": "the preset sets its features",
    "test_stream_level::test_environment_chooses_the_backend": "a model has no name",
}
"""Single tests, by file and name."""

SYSTEM = "the model is of Linux, and the test expects what this system does"
ELSEWHERE = {
    "test_ledger::test_charges_add_up_over_operations_and_sockets": SYSTEM,
    "test_socket_tuning::test_a_size_is_read_back_as_it_took_effect": SYSTEM,
    "test_socket_tuning::test_accepted_sockets_take_after_their_listener": SYSTEM,
    "test_socket_tuning::test_before_connecting": SYSTEM,
}
"""Single tests that run on the model only on Linux."""


def reason(file: str, test: str) -> str | None:
    """Return why a test of a file does not run on the model on this system, or None."""
    name = f"{file}::{test}"
    here = None if sys.platform == "linux" else ELSEWHERE.get(name)
    return FILES.get(file) or TESTS.get(name) or here
