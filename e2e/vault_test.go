package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/payload-manager/payload-manager/e2e"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/worker/vault"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // in the folder of temporary files
	}
	os.Exit(code)
}

// built is the folder of the program that is killed; empty until a test asks.
var built string

var program = sync.OnceValues(func() (path string, err error) {
	if built, err = os.MkdirTemp("", "payload-manager-e2e-"); err != nil {
		return "", err
	}
	path = filepath.Join(built, "payload-manager")
	return path, e2e.BuildDaemon(context.Background(), path)
})

// A victim is a daemon that can be killed, its vault that can be killed, and a
// client. There is no Temporal: lifecycles wait, and nothing here needs them.
type victim struct {
	t      *testing.T
	dir    string
	socket string // the vault's
	args   []string
	daemon *e2e.Process
	*sdk.Client
}

// The ways in which a vault comes to be.
const (
	ofTheDaemon   = "the daemon starts its vault"
	ofASupervisor = "a supervisor starts the vault"
)

func startVictim(t *testing.T, way string) *victim {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	v := &victim{t: t, dir: t.TempDir()}
	v.socket = filepath.Join(v.dir, "vault.sock")
	t.Cleanup(v.end)
	me := strconv.Itoa(os.Getpid())
	v.args = []string{
		"--data_dir=" + v.dir, "--host.name=alpha", "--tiers.ram.capacity=256MiB", "--temporal.address=127.0.0.1:1", "--log.level=info",
	}
	switch way {
	case ofASupervisor:
		v.startVault()
		v.args = append(v.args, "--vault.socket="+v.socket)
	case ofTheDaemon: // and it is made to end with the test, should that be killed
		script := filepath.Join(v.dir, "vault.sh")
		require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nexec "+path+" \"$@\" --end-with "+me+"\n"), 0o700))
		v.args = append(v.args, "--vault.program="+script)
	}
	v.startDaemon()
	v.Client, err = sdk.Dial(t.Context(), v.api())
	require.NoError(t, err)
	return v
}

func (v *victim) startDaemon() {
	v.t.Helper()
	path, err := program()
	require.NoError(v.t, err)
	v.daemon, err = e2e.StartProcess(v.t.Context(), "msg=serving", path, v.args...)
	require.NoError(v.t, err)
}

// startVault is what a supervisor does.
func (v *victim) startVault() {
	v.t.Helper()
	path, err := program()
	require.NoError(v.t, err)
	_, err = e2e.StartProcess(v.t.Context(), "ready", path, "vault", "--socket", v.socket)
	require.NoError(v.t, err)
}

// restart kills the daemon and starts it again.
func (v *victim) restart() {
	v.t.Helper()
	v.daemon.Kill()
	v.startDaemon()
}

func (v *victim) killVault() {
	v.t.Helper()
	require.NoError(v.t, vault.Signal(v.t.Context(), v.socket, syscall.SIGKILL))
}

func (v *victim) end() {
	if v.Client != nil {
		v.Client.Close()
	}
	if v.daemon != nil {
		v.daemon.Kill()
		if v.t.Failed() {
			v.t.Log(v.daemon.Log())
		}
	}
	require.NoError(v.t, vault.End(context.Background(), v.socket))
}

func (v *victim) api() string { return filepath.Join(v.dir, "api.sock") }

func (v *victim) awaitState(id payload.ID, want payload.State) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		p, err := v.Get(v.t.Context(), id)
		return err == nil && p.State == want
	}, 30*time.Second, 5*time.Millisecond)
}

// kept counts the segments that the vault has open, from outside.
func (v *victim) kept() (segments int) {
	v.t.Helper()
	pid, err := vault.Pid(v.t.Context(), v.socket)
	require.NoError(v.t, err)
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(v.t, err)
	for _, fd := range open {
		if file, err := os.Readlink(fd); err == nil && strings.HasPrefix(file, "/memfd:payload") {
			segments++
		}
	}
	return segments
}

func TestMemoryOutlivesAKilledDaemon(t *testing.T) {
	for _, way := range []string{ofTheDaemon, ofASupervisor} {
		t.Run(way, func(t *testing.T) { outlives(t, startVictim(t, way)) })
	}
}

func outlives(t *testing.T, v *victim) {
	film := content(3*mebibyte + 7)
	sealed := put(t, v.Client, film)
	var many []payload.ID
	for i := range 100 {
		many = append(many, put(t, v.Client, content(1000+i)).ID)
	}
	producer, err := v.Allocate(t.Context(), 5000)
	require.NoError(t, err)
	copy(producer.Bytes(), content(2500))
	reader, err := v.Open(t.Context(), sealed.ID, sdk.LeaseFor(time.Minute))
	require.NoError(t, err)
	before, err := reader.Bytes()
	require.NoError(t, err)
	usedBefore := used(t, v.Client)
	require.Equal(t, 1+100+1, v.kept(), "one descriptor each")

	v.daemon.Kill()
	require.Equal(t, film, before, "a reader reads on")
	copy(producer.Bytes()[2500:], content(5000)[2500:])
	v.startDaemon()

	require.Equal(t, usedBefore, used(t, v.Client), "accounted exactly")
	read(t, v.Client, sealed.ID, payload.RAM, film)
	for i, id := range many {
		read(t, v.Client, id, payload.RAM, content(1000+i))
	}
	p, err := producer.Commit(t.Context())
	require.NoError(t, err, "a producer commits what it began before")
	read(t, v.Client, p.ID, payload.RAM, content(5000))

	_, err = v.Delete(t.Context(), sealed.ID)
	require.NoError(t, err)
	require.Equal(t, usedBefore, used(t, v.Client), "the lease of before holds the bytes")
	require.Equal(t, film, before)
	require.NoError(t, reader.Close())
	for _, id := range append(many, p.ID) {
		_, err := v.Delete(t.Context(), id)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return used(t, v.Client) == 0 }, 30*time.Second, 5*time.Millisecond, "every byte comes back")
	require.Zero(t, v.kept(), "and the vault keeps nothing")
}

func TestTokensOfBeforeOpenTheDoorAfterAKill(t *testing.T) {
	v := startVictim(t, ofTheDaemon)
	film := content(mebibyte)
	sealed := put(t, v.Client, film)
	connection, err := grpc.NewClient("unix:"+v.api(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	lease, err := payloadv1.NewLeaseServiceClient(connection).Acquire(t.Context(), &payloadv1.AcquireRequest{Id: sealed.ID.String()})
	require.NoError(t, err)
	allocation, err := payloadv1.NewPayloadServiceClient(connection).Allocate(t.Context(), &payloadv1.AllocateRequest{Size: 100})
	require.NoError(t, err)

	v.restart()
	door := access.NewDoor(filepath.Join(v.dir, "door.sock"))
	defer door.Close()
	mapping := openDoor(t, door, lease.GetLease().GetToken(), false)
	require.Equal(t, film, mapping.Bytes())
	require.NoError(t, mapping.Close())
	mapping = openDoor(t, door, allocation.GetWriteToken(), true)
	copy(mapping.Bytes(), content(100))
	require.NoError(t, mapping.Close())
	_, err = payloadv1.NewPayloadServiceClient(connection).Commit(t.Context(), &payloadv1.CommitRequest{Id: allocation.GetPayload().GetId()},
		grpc.WaitForReady(true))
	require.NoError(t, err)
}

func openDoor(t *testing.T, door *access.Door, token payload.Token, writable bool) *access.Mapping {
	t.Helper()
	file, err := door.Open(t.Context(), token)
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, writable, file.Writable())
	mapping, err := file.Map()
	require.NoError(t, err)
	return mapping
}

func TestAStopLeavesTheVaultRunning(t *testing.T) {
	v := startVictim(t, ofTheDaemon)
	film := content(mebibyte)
	p := put(t, v.Client, film)
	require.NoError(t, v.daemon.Stop())
	v.startDaemon()
	read(t, v.Client, p.ID, payload.RAM, film)
}

// The vault dies under a living daemon. What the daemon has open, it keeps and
// hands to the next vault; what only the old vault had is reported as lost.
func TestAKilledVaultLosesOnlyWhatNobodyElseHasOpen(t *testing.T) {
	v := startVictim(t, ofTheDaemon)
	film := content(mebibyte)
	untouched, touched := put(t, v.Client, film), put(t, v.Client, film)
	reader, err := v.Open(t.Context(), untouched.ID)
	require.NoError(t, err)
	mapped, err := reader.Bytes()
	require.NoError(t, err)
	unfinished, err := v.Allocate(t.Context(), 100)
	require.NoError(t, err)
	v.restart()
	read(t, v.Client, touched.ID, payload.RAM, film)
	fresh := put(t, v.Client, film)

	v.killVault()
	v.awaitState(untouched.ID, payload.StateLost)
	_, err = v.Open(t.Context(), untouched.ID)
	require.ErrorIs(t, err, payload.Lost)
	_, err = unfinished.Commit(t.Context())
	require.Error(t, err, "nobody has the allocation's memory but its producer")
	require.Equal(t, film, mapped, "a reader keeps what it has mapped")
	for range 2 {
		read(t, v.Client, touched.ID, payload.RAM, film)
		read(t, v.Client, fresh.ID, payload.RAM, film)
		require.EqualValues(t, 2*mebibyte, used(t, v.Client))
		v.restart()
	}
}

// Between the vault's death and its supervisor's answer nothing new is promised
// that could not be kept, and what is there is served.
func TestADaemonWithoutItsVaultServesAndAllocatesNothing(t *testing.T) {
	v := startVictim(t, ofASupervisor)
	film := content(mebibyte)
	p := put(t, v.Client, film)
	v.killVault()
	hurried, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := v.Allocate(hurried, 100)
	require.ErrorIs(t, err, payload.Unavailable)
	read(t, v.Client, p.ID, payload.RAM, film)

	v.startVault()
	require.Eventually(t, func() bool { return v.kept() == 1 }, 30*time.Second, 5*time.Millisecond)
	put(t, v.Client, film)
	v.restart()
	read(t, v.Client, p.ID, payload.RAM, film)
}

func TestMemoryThatEndedWithDaemonAndVaultIsReportedLost(t *testing.T) {
	v := startVictim(t, ofTheDaemon)
	p := put(t, v.Client, content(1000))
	v.daemon.Kill()
	v.killVault()
	v.startDaemon()
	_, err := v.Open(t.Context(), p.ID)
	require.ErrorIs(t, err, payload.Lost)
	require.Zero(t, used(t, v.Client))
	put(t, v.Client, content(1000))
}
