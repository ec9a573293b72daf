#include "backend/sim/parameters.hpp"

namespace iocp::sim {

namespace {

Parameters windows_10() {
    Parameters values;
    values.send_buffer = 65'536;
    values.receive_buffer = 65'536;
    values.dynamic_send_buffer = 1;
    values.receive_window = 65'535;
    values.retransmit_first = 1'000'000'000;
    values.connect_limit = 4;
    return values;
}

Parameters linux_tcp() {
    Parameters values;
    values.locks = 0;
    values.send_buffer = 87'040;
    values.receive_buffer = 0;
    values.one_more_send = 0;
    values.whole_sends = 0;
    values.send_piece = 65'536;
    values.doubles_sizes = 1;
    values.min_send_buffer = 4608;
    values.min_receive_option = 2304;
    values.receive_option_window = 1;
    values.end_outlives_reset = 1;
    values.receive_window = 65'535;
    values.min_receive_window = 576;
    values.window_limit = 3 << 20;
    values.nagle_small_only = 1;
    values.ack_delay = 40'000'000;
    values.ack_on_read = 1;
    values.retransmit_first = 1'000'000'000;
    values.retransmit_least = 200'000'000;
    values.retransmit_limit = 15;
    values.connect_limit = 6;
    values.refuses_when_full = 0;
    return values;
}

}  // namespace

const std::vector<ParameterName>& parameter_names() {
    static const std::vector<ParameterName> names{
        {"locks", &Parameters::locks},
        {"send_buffer", &Parameters::send_buffer},
        {"receive_buffer", &Parameters::receive_buffer},
        {"one_more_send", &Parameters::one_more_send},
        {"whole_sends", &Parameters::whole_sends},
        {"send_piece", &Parameters::send_piece},
        {"dynamic_send_buffer", &Parameters::dynamic_send_buffer},
        {"flush_interval", &Parameters::flush_interval},
        {"blocking_sends", &Parameters::blocking_sends},
        {"doubles_sizes", &Parameters::doubles_sizes},
        {"min_send_buffer", &Parameters::min_send_buffer},
        {"min_receive_option", &Parameters::min_receive_option},
        {"receive_option_window", &Parameters::receive_option_window},
        {"end_outlives_reset", &Parameters::end_outlives_reset},
        {"mss", &Parameters::mss},
        {"receive_window", &Parameters::receive_window},
        {"min_receive_window", &Parameters::min_receive_window},
        {"window_limit", &Parameters::window_limit},
        {"nagle", &Parameters::nagle},
        {"nagle_small_only", &Parameters::nagle_small_only},
        {"ack_delay", &Parameters::ack_delay},
        {"ack_on_read", &Parameters::ack_on_read},
        {"retransmit_first", &Parameters::retransmit_first},
        {"retransmit_least", &Parameters::retransmit_least},
        {"retransmit_limit", &Parameters::retransmit_limit},
        {"connect_limit", &Parameters::connect_limit},
        {"refuses_when_full", &Parameters::refuses_when_full},
        {"delay", &Parameters::delay},
        {"bandwidth", &Parameters::bandwidth},
        {"header_bytes", &Parameters::header_bytes},
        {"nic_queue", &Parameters::nic_queue},
        {"loss", &Parameters::loss},
        {"reorder", &Parameters::reorder},
        {"reorder_delay", &Parameters::reorder_delay},
        {"jitter", &Parameters::jitter},
        {"page_size", &Parameters::page_size},
        {"lock_limit", &Parameters::lock_limit},
        {"pool_limit", &Parameters::pool_limit},
        {"socket_price", &Parameters::socket_price},
        {"operation_price", &Parameters::operation_price},
        {"refuse_charge", &Parameters::refuse_charge},
        {"short_operations", &Parameters::short_operations},
        {"shuffle_wakeups", &Parameters::shuffle_wakeups},
        {"wake_delay", &Parameters::wake_delay},
        {"reset_rate", &Parameters::reset_rate},
        {"half_close_rate", &Parameters::half_close_rate},
        {"stall_rate", &Parameters::stall_rate},
        {"vanish_rate", &Parameters::vanish_rate},
        {"fault_span", &Parameters::fault_span},
        {"lose_segment", &Parameters::lose_segment},
        {"late_segment", &Parameters::late_segment},
        {"shorten_operation", &Parameters::shorten_operation},
        {"reset_event", &Parameters::reset_event},
        {"half_close_event", &Parameters::half_close_event},
        {"stall_event", &Parameters::stall_event},
        {"vanish_event", &Parameters::vanish_event},
        {"threads", &Parameters::threads},
    };
    return names;
}

bool preset(std::string_view name, Parameters& out) {
    if (name == "windows-2000") {
        out = {};
    } else if (name == "windows-10") {
        out = windows_10();
    } else if (name == "linux") {
        out = linux_tcp();
    } else {
        return false;
    }
    return true;
}

}  // namespace iocp::sim
