package sdk

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// AddressVariable names the environment variable that says where the daemon
// listens, for callers who do not say it themselves.
const AddressVariable = "PAYLOAD_ADDRESS"

// Names of the daemon's sockets, side by side in one folder.
const (
	apiSocket  = "api.sock"
	doorSocket = "door.sock"
)

// An address is where one daemon listens.
type address struct {
	network string // "unix" or "tcp"
	at      string
}

// find reads a target: the path of a Unix socket, with or without "unix:" or
// "unix://" before it, or host:port on loopback. An empty one is looked for.
func find(target string, env func(string) string) (address, error) {
	if target == "" {
		target = wellKnown(env)
	}
	path, marked := strings.CutPrefix(target, "unix:")
	path = strings.TrimPrefix(path, "//")
	if marked || strings.ContainsRune(path, '/') || strings.HasSuffix(path, ".sock") {
		return address{network: "unix", at: path}, nil
	}
	return loopback(target)
}

// wellKnown is the target of a caller who names none: the variable's, else the
// system's daemon where there is one, else the user's own.
func wellKnown(env func(string) string) string {
	if target := env(AddressVariable); target != "" {
		return target
	}
	system := filepath.Join("/run/payload-manager", apiSocket)
	user := env("XDG_RUNTIME_DIR")
	if _, err := os.Stat(system); err == nil || user == "" {
		return system
	}
	return filepath.Join(user, "payload-manager", apiSocket)
}

// loopback accepts host:port of this machine. Tokens would be readable on any
// other way.
func loopback(target string) (address, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return address{}, payload.Errorf(payload.Invalid, "the daemon's address %q is neither the path of a socket nor host:port", target)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return address{}, payload.Errorf(payload.Unsupported, "a daemon is reached over TCP on this machine's loopback only: use 127.0.0.1 or a socket")
	}
	return address{network: "tcp", at: target}, nil
}

// door is the path of the data door: beside the daemon's socket. It is empty
// where that cannot be told.
func (a address) door() string {
	if a.network != "unix" {
		return ""
	}
	return filepath.Join(filepath.Dir(a.at), doorSocket)
}
