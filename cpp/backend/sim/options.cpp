// The options of a modelled socket.
#include <algorithm>
#include <climits>
#include <cstring>

#include "backend/families.hpp"
#include "backend/sim/codes.hpp"
#include "backend/sim/sim_backend.hpp"
#include "native_sockets.hpp"

namespace iocp::sim {

namespace {

constexpr int tcp_no_delay = 1;  // TCP_NODELAY, on every platform
#ifdef SO_EXCLUSIVEADDRUSE
constexpr int share_option = SO_EXCLUSIVEADDRUSE;  // servers set it to restart at once
#else
constexpr int share_option = SO_REUSEADDR;
#endif

constexpr int max_size = INT_MAX / 2;  // because getsockopt() may report twice the size

// Returns the size that getsockopt() reports for a socket buffer of `size` bytes.
int told(std::uint64_t size, bool doubled) noexcept {
    return static_cast<int>(doubled ? 2 * size : size);
}

}  // namespace

int SimBackend::get_option(const Socket& socket, int level, int option, void* value,
                           std::size_t& length) {
    return with(socket.handle, code_bad_handle, [&](Endpoint& endpoint) {
        const Parameters& values = world_->stack.values;
        const bool doubled = values.doubles_sizes != 0;
        int number = 0;
        if (level == IPPROTO_TCP && option == tcp_no_delay) {
            number = endpoint.nagle ? 0 : 1;
        } else if (level == SOL_SOCKET && option == SO_SNDBUF) {
            number = static_cast<int>(endpoint.send_buffer);
        } else if (level == SOL_SOCKET && option == SO_RCVBUF) {
            number = values.receive_option_window != 0 ? told(endpoint.receive_window, doubled)
                                                       : static_cast<int>(endpoint.receive_buffer);
            number = std::max(number, static_cast<int>(values.min_receive_option));
        } else if (level == SOL_SOCKET && option == share_option) {
            number = endpoint.reusable ? 1 : 0;
        } else if (level == SOL_SOCKET && option == SO_TYPE) {
            number = type_stream;
        } else if (level == SOL_SOCKET && option == SO_ERROR) {
            number = endpoint.stage == Stage::over ? endpoint.error : 0;
        } else {
            return code_no_option;
        }
        length = std::min(length, sizeof number);
        std::memcpy(value, &number, length);
        return 0;
    });
}

Nagle SimBackend::nagle(const Socket& socket) noexcept {
    return with(socket.handle, Nagle::off, [](const Endpoint& endpoint) {
        const bool holds = endpoint.out.end > endpoint.out.next;
        return !endpoint.nagle ? Nagle::off : (holds ? Nagle::holding : Nagle::idle);
    });
}

// AFD sends from the caller's pages when its buffer is off. The model's Linux has no zero copy.
bool SimBackend::send_direct(Socket& socket, bool on) {
    const Parameters& values = world_->stack.values;
    return values.locks != 0 && with(socket.handle, false, [&](Endpoint& endpoint) {
               endpoint.send_buffer = on ? 0 : static_cast<std::uint64_t>(values.send_buffer);
               endpoint.send_buffer_set = on;
               return true;
           });
}

int SimBackend::set_option(const Socket& socket, int level, int option, const void* value,
                           std::size_t length) {
    return with(socket.handle, code_bad_handle, [&](Endpoint& endpoint) {
        const Parameters& values = world_->stack.values;
        int number = 0;
        std::memcpy(&number, value, std::min(length, sizeof number));
        const auto size = static_cast<std::uint64_t>(std::clamp(number, 0, max_size));
        const bool doubled = values.doubles_sizes != 0;
        if (level == IPPROTO_TCP && option == tcp_no_delay) {
            endpoint.nagle = number == 0;
        } else if (level == SOL_SOCKET && option == SO_SNDBUF) {
            const auto minimum = static_cast<std::uint64_t>(values.min_send_buffer);
            endpoint.send_buffer = std::max(doubled ? 2 * size : size, minimum);
            endpoint.send_buffer_set = true;
        } else if (level == SOL_SOCKET && option == SO_RCVBUF) {
            const auto minimum = static_cast<std::uint64_t>(values.min_receive_window);
            if (values.receive_option_window != 0) {
                endpoint.receive_window = std::max(size, minimum);
                endpoint.receive_buffer_set = true;
            } else {
                endpoint.receive_buffer = size;
            }
        } else if (level == SOL_SOCKET && option == share_option) {
            endpoint.reusable = number != 0;
        } else if (level == SOL_SOCKET && option == SO_LINGER && length >= sizeof(linger)) {
            linger given{};
            std::memcpy(&given, value, sizeof given);
            endpoint.resets_on_close = given.l_onoff != 0 && given.l_linger == 0;
        } else {
            return code_no_option;
        }
        world_->stack.touch(endpoint);
        return 0;
    });
}

}  // namespace iocp::sim
