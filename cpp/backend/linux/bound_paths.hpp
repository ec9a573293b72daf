#pragma once

#include <sys/types.h>

#include <string>
#include <unordered_map>

#include "base/address.hpp"

namespace iocp {

// The files that bind(2) made for AF_UNIX sockets, by descriptor. The system keeps such a file
// after its socket is closed, and then refuses the address to the next socket.
class BoundPaths {
public:
    void made(int fd, const Address& address);
    void forget(int fd) noexcept { paths_.erase(fd); }
    // Unlinks the path that the socket was bound to, if it is still the same file.
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
