#pragma once

namespace iocp {

// The system's name of a socket option whose value is an int.
struct Option {
    int level;
    int name;
};

extern const Option option_send_buffer;
extern const Option option_receive_buffer;
extern const Option option_nodelay;

}  // namespace iocp
