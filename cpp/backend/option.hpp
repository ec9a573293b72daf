#pragma once

namespace iocp {

// How the system names an option of a socket; its value is an int.
struct Option {
    int level;
    int name;
};

extern const Option option_send_buffer;
extern const Option option_receive_buffer;
extern const Option option_nodelay;

}  // namespace iocp
