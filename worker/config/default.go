package config

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Default works on one machine: memory, a folder and SQLite, no object storage
// until an endpoint is given.
func Default() Config {
	return Config{
		Host:    Host{Name: hostName()},
		DataDir: "/var/lib/payload-manager",
		Tiers: Tiers{
			RAM:    RAM{Enabled: true, Capacity: 1 << 30},
			Disk:   Disk{Enabled: true},
			Object: Object{Region: "us-east-1", Bucket: "payloads"},
		},
		Vault:         Vault{Enabled: true},
		Relay:         Relay{Interval: 200 * time.Millisecond, InFlight: 8},
		Lifecycle:     Lifecycle{Sweep: "@every 5m", Grace: time.Minute, Retention: 24 * time.Hour},
		Worker:        Worker{Copies: 4},
		Log:           Log{Level: "info", Format: "text"},
		ShutdownGrace: 5 * time.Second,
	}
}

// Resolve fills the empty keys whose default depends on the machine or on
// another key. Twice is as good as once.
func (c Config) Resolve() Config {
	if c.Host.Name == "" {
		c.Host.Name = hostName()
	}
	under := func(path *string, prefix, name string) {
		if *path == "" {
			*path = prefix + filepath.Join(c.DataDir, name)
		}
	}
	under(&c.Listen.Socket, "", "api.sock")
	under(&c.Catalog.URL, "sqlite:", "catalog.db")
	under(&c.Tiers.Disk.Dir, "", "disk")
	return c
}

// VaultSocket is where the vault listens, whoever starts it. Vault.Socket itself
// stays empty where the daemon does.
func (c Config) VaultSocket() string {
	return cmp.Or(c.Vault.Socket, filepath.Join(c.DataDir, "vault.sock"))
}

var notInName = regexp.MustCompile(`[^a-z0-9.-]+`)

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "" // a machine without a name is still this machine
	}
	return cmp.Or(nameFrom(name), "localhost")
}

// nameFrom makes what Check takes for a host name out of what a machine calls
// itself.
func nameFrom(hostname string) string {
	return strings.Trim(notInName.ReplaceAllString(strings.ToLower(hostname), "-"), "-.")
}
