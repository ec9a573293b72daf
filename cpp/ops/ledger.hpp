#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace iocp {

enum class ChargeKind : std::uint8_t { receive, send };
inline constexpr std::size_t charge_kinds = 2;

// The exact account of the pages that unfinished operations keep locked (R06), bounded by a budget
// (R07). Every figure counts whole pages; bytes are pages times page_size().
class Ledger {
public:
    // Holds the charge of one operation. refund() or the destructor returns the charge, so each
    // charge is refunded exactly once.
    class Receipt {
    public:
        Receipt() noexcept = default;
        Receipt(Receipt&& other) noexcept { take(other); }
        Receipt& operator=(Receipt&& other) noexcept {
            if (this != &other) {
                refund();
                take(other);
            }
            return *this;
        }
        Receipt(const Receipt&) = delete;
        Receipt& operator=(const Receipt&) = delete;
        ~Receipt() { refund(); }

        void refund() noexcept;
        [[nodiscard]] std::uint32_t pages() const noexcept { return pages_; }

    private:
        friend class Ledger;
        void take(Receipt& other) noexcept {
            ledger_ = other.ledger_;
            account_ = other.account_;
            pages_ = other.pages_;
            kind_ = other.kind_;
            other.ledger_ = nullptr;
            other.pages_ = 0;
        }

        Ledger* ledger_{nullptr};
        std::uint32_t* account_{nullptr};  // the pages charged to the operation's socket
        std::uint32_t pages_{0};
        ChargeKind kind_{ChargeKind::receive};
    };

    Ledger(std::size_t page_size, std::size_t budget_bytes) noexcept;
    ~Ledger();
    Ledger(const Ledger&) = delete;
    Ledger& operator=(const Ledger&) = delete;

    // Returns whether `pages` more pages stay within the budget. Registered memory counts against
    // the budget once, however many operations use it.
    [[nodiscard]] bool fits(std::size_t pages) const noexcept;
    // Returns whether `pages` pages would fit the budget if no operation were outstanding.
    [[nodiscard]] bool could_fit(std::size_t pages) const noexcept;
    // Charges `pages` pages to the ledger and to `account`, a total that must outlive the receipt.
    // Precondition: fits(pages).
    [[nodiscard]] Receipt charge(ChargeKind kind, std::uint32_t pages,
                                 std::uint32_t& account) noexcept;

    void add_registered(std::size_t bytes) noexcept { registered_bytes_ += bytes; }
    void remove_registered(std::size_t bytes) noexcept { registered_bytes_ -= bytes; }

    [[nodiscard]] std::size_t page_size() const noexcept { return page_size_; }
    [[nodiscard]] std::size_t budget_bytes() const noexcept { return budget_bytes_; }
    [[nodiscard]] std::uint64_t now_pages() const noexcept { return now_; }
    [[nodiscard]] std::uint64_t peak_pages() const noexcept { return peak_; }
    [[nodiscard]] std::uint64_t pages_of(ChargeKind kind) const noexcept {
        return by_kind_[static_cast<std::size_t>(kind)];
    }
    [[nodiscard]] std::size_t registered_bytes() const noexcept { return registered_bytes_; }

private:
    std::size_t page_size_;
    std::size_t budget_bytes_;  // 0: no limit
    std::size_t registered_bytes_{0};
    std::uint64_t now_{0};
    std::uint64_t peak_{0};
    std::array<std::uint64_t, charge_kinds> by_kind_{};
};

}  // namespace iocp
