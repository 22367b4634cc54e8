package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// desk is a terminal that nobody watches, with what it wrote.
type desk struct {
	terminal
	written, complained bytes.Buffer
}

func newDesk(input string) *desk {
	d := &desk{}
	d.terminal = terminal{in: strings.NewReader(input), out: &d.written, err: &d.complained, now: func() time.Time { return noon }}
	return d
}

func TestCommandLinesThatMakeNoSense(t *testing.T) {
	for line, says := range map[string]string{
		"frob":             `unknown command "frob"`,
		"get":              "accepts 1 arg(s), received 0",
		"get 1 2":          "accepts 1 arg(s), received 2",
		"get seven":        "a payload id is a lower-case UUIDv7",
		"ls --bad":         "unknown flag: --bad",
		"ls --tier tape":   `tier "tape" is unknown`,
		"ls --state alive": `state "alive" is unknown`,
		"ls -o xml":        "use table, json or id",
		"promote 0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10 --to tape": `tier "tape" is unknown`,
		"extend 0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10":            "say --ttl DURATION or --forever",
		"put /":             "is a folder",
		"put /no/such/file": "no such file",
		"ls --address 7":    "neither the path of a socket nor host:port",
	} {
		t.Run(line, func(t *testing.T) {
			d := newDesk("")
			require.Equal(t, exitUsage, d.run(t.Context(), strings.Fields(line)))
			require.Contains(t, d.complained.String(), says)
			require.Equal(t, 1, strings.Count(d.complained.String(), "\n"), "one line")
			require.Empty(t, d.written.String())
		})
	}
}

func TestHelpListsTheExitCodes(t *testing.T) {
	d := newDesk("")
	require.Equal(t, exitOK, d.run(t.Context(), []string{"--help"}))
	require.Contains(t, d.written.String(), "3  there is no such payload")
}

func TestADaemonThatIsNotThere(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	for _, command := range []string{"ls", "stats", "hosts", "put -", "get 0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10"} {
		d := newDesk("")
		code := d.run(t.Context(), append([]string{"--address", socket}, strings.Fields(command)...))
		require.Equal(t, exitUnavailable, code, command)
		require.Contains(t, d.complained.String(), "start one with `make run`", command)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, exitOK},
		{errors.New("?"), exitFailed},
		{payload.Errorf(payload.Invalid, "x"), exitUsage},
		{usageError{errors.New("x")}, exitUsage},
		{payload.Errorf(payload.NotFound, "x"), exitNotFound},
		{payload.Errorf(payload.Expired, "x"), exitNotFound},
		{payload.Errorf(payload.Conflict, "x"), exitConflict},
		{payload.Errorf(payload.Busy, "x"), exitConflict},
		{payload.Errorf(payload.AlreadyExists, "x"), exitConflict},
		{payload.Errorf(payload.Exhausted, "x"), exitExhausted},
		{payload.Errorf(payload.Unavailable, "x"), exitUnavailable},
		{payload.Errorf(payload.Unavailable, "late: %w", context.DeadlineExceeded), exitUnavailable},
		{payload.Errorf(payload.Unavailable, "given up: %w", context.Canceled), exitFailed},
		{payload.Errorf(payload.Lost, "x"), exitLost},
		{payload.Errorf(payload.Corrupt, "x"), exitLost},
		{payload.Errorf(payload.Denied, "x"), exitFailed},
		{payload.Errorf(payload.Unsupported, "x"), exitFailed},
		{payload.Errorf(payload.Internal, "x"), exitFailed},
		{fmt.Errorf("write: %w", syscall.EPIPE), exitOK},
	} {
		require.Equal(t, c.code, exitCode(c.err), "%v", c.err)
	}
}

func TestAComplaintIsOneLineThatSaysWhatToDoNext(t *testing.T) {
	var w bytes.Buffer
	report(&w, errors.Join(payload.Errorf(payload.NotFound, "no such payload"), errors.New("and\nmore")))
	require.Equal(t, "payloadctl: NOT_FOUND: no such payload and more; `payloadctl ls` shows what there is\n", w.String())

	w.Reset()
	report(&w, payload.Errorf(payload.Conflict, "it is on disk").Because(payload.TooSlow))
	require.Contains(t, w.String(), "--wait")

	w.Reset()
	report(&w, fmt.Errorf("write: %w", syscall.EPIPE))
	require.Empty(t, w.String(), "a reader that saw enough is no failure")
}

func someRecord(t *testing.T) sdk.Record {
	t.Helper()
	id, err := payload.ParseID("0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10")
	require.NoError(t, err)
	return sdk.Record{
		Payload: payload.Payload{
			ID: id, Namespace: "camera", Name: "frame 17", Size: 3 << 20, Checksum: payload.CRC32C(1),
			Policy: payload.Policy{Tier: payload.RAM, TTL: 2 * time.Hour, Lifecycle: payload.LifecycleOwn},
			State:  payload.StateActive, Version: 3,
			CreatedAt: noon.Add(-time.Hour), CommitBy: noon.Add(-45 * time.Minute),
			ActiveAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(time.Hour),
			Placements: []payload.Placement{
				{Tier: payload.RAM, Host: "alpha", State: payload.Retiring},
				{Tier: payload.Disk, Host: "alpha", State: payload.Ready},
			},
		},
		Leases: []int{2, 0}, Workflow: "payload:camera:0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10",
	}
}

func TestARecordForPeopleAndForScripts(t *testing.T) {
	for format, want := range map[format]string{
		asTable: `id         0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10
name       frame 17
namespace  camera
size       3.0 MiB (3145728 bytes)
checksum   crc32c:00000001 (as its producer says)
state      active
version    3
created    1 hour ago
expires    1 hour from now
workflow   payload:camera:0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10
placement  ram on alpha, retiring, 2 leases
placement  disk on alpha, ready
`,
		asID: "0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10\n",
		asJSON: `{"id":"0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10","namespace":"camera","name":"frame 17","size":3145728,` +
			`"checksum":"crc32c:00000001","verified":false,"state":"active","version":3,` +
			`"policy":{"tier":"ram","ttl":"2h0m0s","lifecycle":"own"},` +
			`"created_at":"2026-11-23T11:00:00Z","commit_by":"2026-11-23T11:15:00Z","active_at":"2026-11-23T11:00:00Z","expires_at":"2026-11-23T13:00:00Z",` +
			`"placements":[{"tier":"ram","host":"alpha","state":"retiring","leases":2},{"tier":"disk","host":"alpha","state":"ready","leases":0}],` +
			`"workflow":"payload:camera:0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10"}` + "\n",
	} {
		d := newDesk("")
		d.format = format
		require.NoError(t, d.show(d.record(someRecord(t))))
		require.Equal(t, want, d.written.String(), format)
	}
}

func TestAListForPeopleAndForScripts(t *testing.T) {
	for format, want := range map[format]string{
		asTable: `ID                                    NAME      SIZE     STATE   WHERE               CREATED     EXPIRES
0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10  frame 17  3.0 MiB  active  ram(retiring)·2 disk  1 hour ago  1 hour from now
0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10  -         0 B      active  -                   -           never
`,
		asID: strings.Repeat("0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10\n", 2),
	} {
		d := newDesk("")
		d.format = format
		full := someRecord(t)
		bare := sdk.Record{Payload: payload.Payload{ID: full.ID, State: payload.StateActive}}
		rows := d.rows(listHeader)
		require.NoError(t, rows.add(d.record(full)))
		require.NoError(t, rows.add(d.record(bare)))
		require.NoError(t, rows.end())
		require.Equal(t, strings.Fields(want), strings.Fields(d.written.String()), format)
	}
}

func TestAHostForPeople(t *testing.T) {
	d := newDesk("")
	require.NoError(t, d.show(statsOf(sdk.Stats{
		Host: "alpha",
		Tiers: []sdk.TierStats{
			{Tier: payload.RAM, Capacity: 4 << 30, Used: 1 << 30, Placements: 1},
			{Tier: payload.Disk, Used: 5},
		},
		Leases: 3, OldestLease: 2 * time.Minute, ControlPlaneBytes: 2048,
	})))
	require.Equal(t, `host           alpha
ram            1.0 GiB of 4.0 GiB (25 %), 1 placement
disk           5 B, 0 placements
leases         3 held, the oldest for 2m0s
outbox         0 waiting for Temporal
control plane  2.0 KiB since the daemon's start
`, d.written.String())
}

func TestAReaderThatSawEnoughEndsTheListingQuietly(t *testing.T) {
	gone, out, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	defer out.Close()
	d := newDesk("")
	d.out, d.format = out, asID

	err = d.rows(listHeader).add(d.record(someRecord(t)))

	require.True(t, enough(err), "%v", err)
}

func TestWhatDoesNotKnowItsLengthIsCopiedFirst(t *testing.T) {
	d := newDesk("from a pipe")
	file, size, err := d.source("-")
	require.NoError(t, err)
	defer file.Close()
	require.EqualValues(t, 11, size)
	content, err := io.ReadAll(file)
	require.NoError(t, err)
	require.Equal(t, "from a pipe", string(content))

	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(path, []byte("named"), 0) }()
	file, size, err = d.source(path)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, <-written)
	require.EqualValues(t, 5, size)
}

func TestProgressIsForThoseWhoWatch(t *testing.T) {
	unwatched := newDesk("")
	shown := unwatched.measure("put", 10)
	shown.add(10)
	shown.done()
	require.Empty(t, unwatched.complained.String())

	watched := newDesk("")
	watched.watched = true
	for _, shown := range []*progress{watched.measure("put", 10), watched.spin("spill to disk")} {
		shown.add(5)
		shown.done()
	}
	require.Empty(t, watched.complained.String(), "what is over at once needs no progress")
}
