#pragma once

namespace iocp {

// A socket option whose value is an int, by the level and the name that setsockopt() takes.
struct Option {
    int level;
    int name;
};

extern const Option option_send_buffer;
extern const Option option_receive_buffer;
extern const Option option_nodelay;

}  // namespace iocp
