package worker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/worker/config"
	"github.com/payload-manager/payload-manager/worker/vault"
)

// Vault is the process that keeps memory while no daemon runs.
func Vault(ctx context.Context, o vault.Options, log config.Log) error {
	o.Log = newLogger(log)
	raiseDescriptorLimit(o.Log)
	return vault.Run(ctx, o)
}

// volatile is the ram tier with the vault behind it.
type volatile struct {
	tier   *ram.Tier
	vaults vaults
	log    *slog.Logger

	// The watch's own, once it runs.
	client *vault.Client
	lost   []tiers.Found // and not reported yet
}

// openMemory opens the ram tier on what the vault has kept; w.volatile stays nil
// where there is no vault.
func (w *Worker) openMemory(ctx context.Context, c config.Config, key []byte) (tiers.Tier, error) {
	o := ram.Options{Capacity: int64(c.Tiers.RAM.Capacity)}
	if !c.Vault.Enabled {
		return ram.New(o), nil
	}
	m := &volatile{vaults: vaultsOf(c, key), log: w.log}
	var err error
	if m.client, err = m.vaults.connect(ctx); err != nil {
		return nil, err
	}
	w.onStop("vault", func(context.Context) error { return m.client.Close() })
	if m.tier, err = ram.Open(ctx, m.client, o); err != nil {
		return nil, err
	}
	w.volatile = m
	return m.tier, nil
}

// watchMemory goes on with another vault whenever the one there was ends.
func (w *Worker) watchMemory(host *placement.Host) {
	if w.volatile == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.volatile.watch(ctx, host)
	}()
	w.onStop("vault's watch", func(context.Context) error {
		stop()
		<-ended
		return nil
	})
}

func (m *volatile) watch(ctx context.Context, host *placement.Host) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.client.Done():
		}
		m.log.Error("the vault is gone: memory outlives this daemon again once another is found")
		for err := m.replace(ctx, host); err != nil; err = m.replace(ctx, host) {
			m.log.Error("memory is not kept yet", "error", err)
			if !pause(ctx, vaultRetry) {
				return
			}
		}
	}
}

// vaultRetry is how long a daemon whose vault is gone waits between looking for
// another.
const vaultRetry = time.Second

// replace finds another vault, hands it what this daemon has open, and has the
// rest reported as lost. It is repeated until it returns nil.
func (m *volatile) replace(ctx context.Context, host *placement.Host) error {
	m.client.Close()
	client, err := m.vaults.connect(ctx)
	if err != nil {
		return err
	}
	same := client.Vault() == m.client.Vault()
	m.client = client
	lost, err := m.tier.Rekeep(ctx, client)
	m.lost = append(m.lost, lost...)
	if err != nil {
		return err
	}
	if err := host.Vanished(ctx, payload.RAM, m.lost); err != nil {
		return err
	}
	m.log.Warn("memory is kept again", "vault", sameOrNew[same], "lost", len(m.lost))
	m.lost = nil
	return nil
}

var sameOrNew = map[bool]string{true: "the same", false: "a new one"}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// vaults finds or starts this daemon's vault.
type vaults struct {
	socket  string
	program string // to start one; empty where a supervisor does
	log     string // of the one that is started
	owner   vault.Owner
}

func vaultsOf(c config.Config, key []byte) vaults {
	v := vaults{socket: c.VaultSocket(), owner: ownerOf(key)}
	if c.Vault.Socket == "" {
		v.program, v.log = c.Vault.Program, filepath.Join(c.DataDir, "vault.log")
		if v.program == "" {
			v.program = vault.Itself
		}
	}
	return v
}

// ownerOf is the same for every daemon on a data directory, and tells nothing
// of its key.
func ownerOf(key []byte) (owner vault.Owner) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("vault owner"))
	copy(owner[:], mac.Sum(nil))
	return owner
}

// vaultPatience is how long a supervisor may take to start the vault after the
// daemon.
const vaultPatience = 10 * time.Second

// connect reaches the vault that is there, or else starts one, or else waits
// for the one that a supervisor starts.
func (v vaults) connect(ctx context.Context) (*vault.Client, error) {
	client, err := vault.Dial(ctx, v.socket, v.owner)
	if payload.CodeOf(err) != payload.Unavailable {
		return client, err
	}
	if v.program != "" {
		if err := vault.Start(v.program, v.socket, v.log); err != nil {
			return nil, err
		}
		return vault.Dial(ctx, v.socket, v.owner)
	}
	ctx, cancel := context.WithTimeout(ctx, vaultPatience)
	defer cancel()
	for payload.CodeOf(err) == payload.Unavailable && pause(ctx, vaultPatience/100) {
		client, err = vault.Dial(ctx, v.socket, v.owner)
	}
	return client, err
}
