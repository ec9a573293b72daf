#pragma once

// The system's names of addresses and families, for code that is the same on every platform.
#include <winsock2.h>
// winsock2.h comes before everything else of the system's.
#include <afunix.h>
#include <ws2tcpip.h>
