#pragma once

#include <sys/types.h>

#include <string>
#include <unordered_map>

#include "backend/address.hpp"

namespace iocp {

// The paths that binding sockets of AF_UNIX has made, by the sockets' descriptors. The system
// leaves them behind when the socket is closed, and refuses the address to the next one.
class BoundPaths {
public:
    void made(int fd, const Address& address);
    void forget(int fd) noexcept { paths_.erase(fd); }
    // Unlinks the path, if it is still the one that was made.
    void remove(int fd) noexcept;

private:
    struct Path {
        std::string name;  // absolute: the working directory may change
        dev_t device;
        ino_t inode;
    };
    std::unordered_map<int, Path> paths_;
};

}  // namespace iocp
