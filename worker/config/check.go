package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Check refuses what can never work, everything at once. Its error has code
// Invalid and names each key; it shows no value that may hold a secret, a path
// or an address.
func (c Config) Check() error {
	c = c.Resolve()
	var f findings
	f.must(hostPattern.MatchString(c.Host.Name) && len(c.Host.Name) <= maxHostName,
		"host.name", "use at most %d letters, digits and inner dots and hyphens", maxHostName)
	f.must(c.DataDir != "", "data_dir", "name a folder")
	f.must(c.ShutdownGrace > 0, "shutdown_grace", "give the daemon some time, such as 5s")
	c.Listen.check(&f)
	c.Catalog.check(&f)
	c.Tiers.check(&f)
	f.must(!c.Vault.Enabled || len(c.VaultSocket()) <= maxSocketPath, "vault.socket",
		"its path, or that of vault.sock in data_dir, is longer than the %d bytes that the kernel takes: use a shorter folder", maxSocketPath)
	c.Temporal.check(&f)
	c.Relay.check(&f)
	c.Lifecycle.check(&f)
	f.must(c.Worker.Copies >= 1, "worker.copies", "at least one copy at a time")
	f.must(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", "use debug, info, warn or error")
	f.must(slices.Contains([]string{"text", "json"}, c.Log.Format), "log.format", "use text or json")
	return f.err()
}

// findings are what is wrong with a configuration.
type findings []string

func (f *findings) must(holds bool, key, format string, args ...any) {
	if !holds {
		*f = append(*f, key+": "+fmt.Sprintf(format, args...))
	}
}

func (f findings) err() error {
	if len(f) == 0 {
		return nil
	}
	return payload.Errorf(payload.Invalid, "%s", strings.Join(f, "; "))
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

const (
	maxHostName   = 253 // RFC 1035 section 2.3.4, as text
	maxSocketPath = 107 // sun_path of unix(7), without its final zero
)

// doorBeside is the socket that the data door makes beside the façade's.
func doorBeside(socket string) string { return filepath.Join(filepath.Dir(socket), "door.sock") }

func (l Listen) check(f *findings) {
	longest := max(len(l.Socket), len(doorBeside(l.Socket)))
	f.must(longest <= maxSocketPath, "listen.socket",
		"its path or door.sock's is %d bytes long, and the kernel takes %d: use a shorter folder", longest, maxSocketPath)
	f.must(filepath.Base(l.Socket) != "door.sock", "listen.socket", "door.sock is the data door's name: use another")
	if l.TCP != "" {
		f.must(isLoopback(l.TCP), "listen.tcp",
			"only loopback is served until clients prove who they are (mTLS): use 127.0.0.1:PORT, [::1]:PORT or localhost:PORT")
	}
}

func isLoopback(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !isPort(port) {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func (c Catalog) check(f *findings) {
	const key = "catalog.url"
	scheme, rest, _ := strings.Cut(c.URL, ":")
	switch scheme {
	case "memory":
		f.must(rest == "", key, "nothing follows memory:")
	case "sqlite":
		f.must(rest != "", key, "sqlite: needs the path of a file")
	case "postgres", "postgresql":
		_, err := url.Parse(c.URL)
		f.must(err == nil && strings.HasPrefix(rest, "//"), key, "this is no PostgreSQL URL: write postgres://USER@HOST/DATABASE")
	default:
		f.must(false, key, "use sqlite:PATH, postgres://… or memory:")
	}
}

func (t Tiers) check(f *findings) {
	f.must(t.RAM.Enabled || t.Disk.Enabled || t.Object.Enabled, "tiers", "all are off: enable one, so that payloads can be somewhere")
	if t.RAM.Enabled {
		f.must(t.RAM.Capacity > 0, "tiers.ram.capacity", "say how much memory payloads may take, such as 4GiB")
	}
	f.must(t.Disk.Capacity >= 0, "tiers.disk.capacity", "a size is not negative")
	f.must(t.Object.Capacity >= 0, "tiers.object.capacity", "a size is not negative")
	if t.Object.Enabled {
		t.Object.check(f)
	}
}

// bucketPattern is what S3 and its kin all take for a bucket's name.
var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (o Object) check(f *findings) {
	f.must(o.Endpoint != "" && !strings.Contains(o.Endpoint, "/"), "tiers.object.endpoint",
		"write host:port without a scheme; tiers.object.secure chooses HTTPS")
	f.must(bucketPattern.MatchString(o.Bucket), "tiers.object.bucket", "use 3 to 63 lower-case letters, digits and inner hyphens")
	f.must(o.AccessKey != "", "tiers.object.access_key", "the object tier needs one")
	f.must(o.SecretKey != "" || o.SecretKeyFile != "", "tiers.object.secret_key_file", "the object tier needs a secret key")
	f.must(o.SecretKey == "" || o.SecretKeyFile == "", "tiers.object.secret_key", "tiers.object.secret_key_file is set too: keep one of them")
}

func (t Temporal) check(f *findings) {
	if t.Address != "" {
		host, port, err := net.SplitHostPort(t.Address)
		f.must(err == nil && host != "" && isPort(port), "temporal.address", "write host:port, such as 127.0.0.1:7233")
	}
	if t.UI != "" {
		ui, err := url.Parse(t.UI)
		f.must(err == nil && ui.Host != "" && (ui.Scheme == "http" || ui.Scheme == "https"), "temporal.ui",
			"write the address that a browser opens, such as http://127.0.0.1:8233")
	}
}

func (r Relay) check(f *findings) {
	f.must(r.Interval > 0, "relay.interval", "use a positive duration, such as 200ms")
	f.must(r.InFlight >= 1, "relay.in_flight", "at least one at a time")
}

func (l Lifecycle) check(f *findings) {
	f.must(isSchedule(l.Sweep), "lifecycle.sweep", "write five fields of cron (0 3 * * *), @hourly or @every 5m")
	f.must(l.Grace >= 0, "lifecycle.grace", "a wait is not negative")
	f.must(l.Retention > 0, "lifecycle.retention", "use a positive duration, such as 24h: a repeated request must still find its first answer")
}

// isSchedule reports whether cron's parser takes spec. The parser panics on a
// time zone without fields after it.
func isSchedule(spec string) bool {
	zone, fields, _ := strings.Cut(spec, " ")
	if strings.Contains(zone, "TZ=") && fields == "" {
		return false
	}
	_, err := cron.ParseStandard(spec)
	return err == nil
}
