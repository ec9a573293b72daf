#include "backend/linux/bound_paths.hpp"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <utility>

namespace iocp {

void BoundPaths::made(int fd, const Address& address) {
    constexpr std::size_t begin = offsetof(sockaddr_un, sun_path);
    const std::size_t length = std::min<std::size_t>(address.length, address.bytes.size());
    if (length <= begin || address.bytes[begin] == std::byte{0}) {
        return;  // no name, or an abstract one: neither leaves a file
    }
    const auto* text = reinterpret_cast<const char*>(address.bytes.data()) + begin;
    std::string name(text, std::find(text, text + (length - begin), '\0'));
    if (name.front() != '/') {
        std::array<char, PATH_MAX> directory{};
        if (::getcwd(directory.data(), directory.size()) == nullptr) {
            return;
        }
        name = std::string(directory.data()) + '/' + name;
    }
    struct stat found {};
    if (::lstat(name.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
        paths_.insert_or_assign(fd, Path{std::move(name), found.st_dev, found.st_ino});
    }
}

void BoundPaths::remove(int fd) noexcept {
    if (paths_.empty()) {
        return;
    }
    const auto found = paths_.find(fd);
    if (found == paths_.end()) {
        return;
    }
    const Path& path = found->second;
    struct stat there {};
    if (::lstat(path.name.c_str(), &there) == 0 && there.st_dev == path.device &&
        there.st_ino == path.inode) {
        (void)::unlink(path.name.c_str());
    }
    paths_.erase(found);
}

}  // namespace iocp
