// Package config holds what can be set on the daemon: the keys, their defaults
// and their documentation.
//
// It exists so that a key is said in one place: the YAML file, the environment,
// the flags and the example file all come from the struct below. It reads one
// file, the configuration; it opens and starts nothing else.
//
// # Sources
//
// A later source wins over an earlier one: the defaults, the file, the
// environment (PAYLOAD_TIERS_RAM_CAPACITY), the flags (--tiers.ram.capacity).
// A key that does not exist is refused wherever it stands, because a daemon
// that runs with a misspelt limit runs without one.
package config

import "time"

// A Config is everything that can be set. Default returns one that works on a
// single machine.
type Config struct {
	Host    Host    `koanf:"host" doc:"This machine."`
	DataDir string  `koanf:"data_dir" doc:"Folder of this daemon's own state: its key, the SQLite catalog, the disk tier. One daemon a folder; a second is refused."`
	Listen  Listen  `koanf:"listen" doc:"Where clients connect."`
	Catalog Catalog `koanf:"catalog" doc:"Where the catalog is: which payloads exist, and where."`
	Tiers   Tiers   `koanf:"tiers" doc:"Where bytes can be kept on this host."`
	Vault   Vault   `koanf:"vault" doc:"The process that keeps the memory of payloads in ram while no daemon runs."`

	Temporal  Temporal  `koanf:"temporal" doc:"Which Temporal carries the lifecycles."`
	Relay     Relay     `koanf:"relay" doc:"How lifecycles reach Temporal."`
	Lifecycle Lifecycle `koanf:"lifecycle" doc:"How payloads end."`
	Worker    Worker    `koanf:"worker" doc:"How much this host does at a time."`
	Log       Log       `koanf:"log" doc:"What the daemon writes to standard error."`

	ShutdownGrace time.Duration `koanf:"shutdown_grace" doc:"How long the daemon may take to stop. What has not ended by then is cut off."`
}

// Host names the machine.
type Host struct {
	Name string `koanf:"name" doc:"Name of this host in placements and task queues: letters, digits, dots, hyphens. It must not change while payloads are on the host. Default: the machine's host name."`
}

// Listen says where clients connect.
type Listen struct {
	Socket string `koanf:"socket" doc:"Unix socket of the gRPC façade. The data door is door.sock beside it. Default: api.sock in data_dir."`
	TCP    string `koanf:"tcp" doc:"A second address for the façade, such as 127.0.0.1:7400. Loopback only. Empty: none."`
}

// Catalog says where the catalog is.
type Catalog struct {
	URL string `koanf:"url" doc:"sqlite:PATH for one machine, postgres://… for a cluster, memory: for tests. Default: sqlite:catalog.db in data_dir."`
}

// Tiers says which tiers this host has.
type Tiers struct {
	RAM    RAM    `koanf:"ram" doc:"Shared memory: the fastest, gone with the host, or with this daemon where vault.enabled is false."`
	Disk   Disk   `koanf:"disk" doc:"Files on this host."`
	Object Object `koanf:"object" doc:"A bucket that all hosts share."`
}

// RAM is shared memory.
type RAM struct {
	Enabled  bool `koanf:"enabled" doc:"Whether this host keeps payloads in shared memory."`
	Capacity Size `koanf:"capacity" doc:"Bytes of memory for payloads, such as 4GiB. They count against the daemon's control group."`
}

// Vault is who keeps volatile memory.
type Vault struct {
	Enabled bool   `koanf:"enabled" doc:"Whether payloads in ram outlive this daemon."`
	Socket  string `koanf:"socket" doc:"Unix socket of a vault that a supervisor runs (payload-manager vault --socket PATH), as one should in production: a supervisor that ends a daemon often ends its children, too. Empty: the daemon starts a vault of its own at vault.sock in data_dir, or finds the one that it started before, and leaves it running when it stops."`
	Program string `koanf:"program" doc:"The payload-manager that the daemon starts as its vault. Empty: the daemon's own."`
}

// Disk is files.
type Disk struct {
	Enabled  bool   `koanf:"enabled" doc:"Whether this host keeps payloads in files."`
	Dir      string `koanf:"dir" doc:"Folder of the payload files, made if absent; nothing else may live in it. Default: disk in data_dir."`
	Capacity Size   `koanf:"capacity" doc:"Bytes of disk for payloads, such as 1TiB. 0: as much as the file system has."`
}

// Object is a bucket.
type Object struct {
	Enabled       bool   `koanf:"enabled" doc:"Whether payloads can go to object storage."`
	Endpoint      string `koanf:"endpoint" doc:"host:port of the S3 server, as the daemon and the clients reach it."`
	Secure        bool   `koanf:"secure" doc:"Whether the endpoint speaks HTTPS."`
	Region        string `koanf:"region" doc:"Region to sign for."`
	Bucket        string `koanf:"bucket" doc:"Bucket of the payloads, made if absent."`
	Prefix        string `koanf:"prefix" doc:"Prefix of every key, so that a bucket can be shared."`
	AccessKey     string `koanf:"access_key" doc:"Access key. It never leaves the daemon."`
	SecretKey     string `koanf:"secret_key" doc:"Secret key. It never leaves the daemon. Better: secret_key_file."`
	SecretKeyFile string `koanf:"secret_key_file" doc:"File that holds the secret key."`
	Capacity      Size   `koanf:"capacity" doc:"Bytes of objects for payloads. 0: no limit."`
}

// Temporal says which Temporal carries the lifecycles.
type Temporal struct {
	Address   string `koanf:"address" doc:"host:port of the Temporal frontend. Empty: what the profile and the TEMPORAL_… variables say, else 127.0.0.1:7233."`
	Namespace string `koanf:"namespace" doc:"Temporal namespace. Empty: as the profile says, else default."`
	Profile   string `koanf:"profile" doc:"Profile of the Temporal configuration file. Empty: its default."`
	UI        string `koanf:"ui" doc:"Address of the Temporal UI, for links that people follow. Empty: unknown."`
}

// Relay says how lifecycles reach Temporal.
type Relay struct {
	Interval time.Duration `koanf:"interval" doc:"How often the outbox is read."`
	InFlight int           `koanf:"in_flight" doc:"How many lifecycles are started at a time."`
}

// Lifecycle says how payloads end.
type Lifecycle struct {
	Sweep     string        `koanf:"sweep" doc:"When the sweeper repairs what a lost workflow left behind: a cron spec or @every, read by Temporal."`
	Grace     time.Duration `koanf:"grace" doc:"How long after it was due a payload counts as overdue."`
	Retention time.Duration `koanf:"retention" doc:"How long tombstones and the answers to repeated requests are kept."`
}

// Worker says how much a host does at a time.
type Worker struct {
	Copies int `koanf:"copies" doc:"Copies between tiers at a time: as many as the devices bear."`
}

// Log says what is logged.
type Log struct {
	Level  string `koanf:"level" doc:"debug, info, warn or error."`
	Format string `koanf:"format" doc:"text for people, json for machines."`
}
