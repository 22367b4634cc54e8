package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/e2e"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const mebibyte = 1 << 20

// start brings a system of its own up for one test.
func start(t *testing.T, change ...func(*e2e.Stack)) *e2e.Stack {
	t.Helper()
	c := e2e.Settings(t.TempDir())
	c.Tiers.RAM.Capacity = 256 * mebibyte
	stack, err := e2e.Start(t.Context(), c, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	return stack
}

func content(size int) []byte {
	return bytes.Repeat([]byte("a frame of the film, number 12; "), size/32+1)[:size]
}

func put(t *testing.T, c *sdk.Client, bytes []byte, options ...sdk.AllocateOption) payload.Payload {
	t.Helper()
	w, err := c.Allocate(t.Context(), int64(len(bytes)), options...)
	require.NoError(t, err)
	copy(w.Bytes(), bytes)
	p, err := w.Commit(t.Context())
	require.NoError(t, err)
	return p
}

func read(t *testing.T, c *sdk.Client, id payload.ID, tier payload.Tier, want []byte) {
	t.Helper()
	r, err := c.Open(t.Context(), id)
	require.NoError(t, err)
	got, err := r.Bytes()
	require.NoError(t, err)
	require.Equal(t, tier, r.Descriptor().Tier)
	require.True(t, bytes.Equal(want, got), "other bytes were read")
	require.NoError(t, r.Close())
}

// awaitState polls the record, because a test is an outsider; every other wait
// here is for a lifecycle that runs in Temporal's own time.
func awaitState(t *testing.T, c *sdk.Client, id payload.ID, want payload.State) {
	t.Helper()
	var last payload.Payload
	require.Eventually(t, func() bool {
		p, err := c.Get(t.Context(), id)
		require.NoError(t, err)
		last = p.Payload
		return p.State == want && len(p.Placements) == 0
	}, time.Minute, 20*time.Millisecond, "the payload is %s", &last.State)
}

func used(t *testing.T, c *sdk.Client) int64 {
	t.Helper()
	stats, err := c.Stats(t.Context())
	require.NoError(t, err)
	var sum int64
	for _, tier := range stats.Tiers {
		sum += tier.Used
	}
	return sum
}

func TestOnePayloadsWholeLife(t *testing.T) {
	for name, catalog := range map[string]func(t *testing.T) string{
		"sqlite": func(*testing.T) string { return "" },
		"postgres": func(t *testing.T) string {
			pg, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{NoSync: true})
			require.NoError(t, err)
			t.Cleanup(pg.Stop)
			return pg.DSN
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := e2e.Settings(t.TempDir())
			c.Catalog.URL = catalog(t)
			stack, err := e2e.Start(t.Context(), c, nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, stack.Stop()) })
			wholeLife(t, stack)
		})
	}
}

func wholeLife(t *testing.T, stack *e2e.Stack) {
	film, c := content(37*mebibyte+11), stack.Client

	p := put(t, c, film, sdk.WithName("a film"), sdk.WithTTL(time.Hour), sdk.WithLifecycle(payload.LifecycleOwn))
	read(t, c, p.ID, payload.RAM, film)
	for _, tier := range []payload.Tier{payload.Disk, payload.Object} {
		_, err := c.Spill(t.Context(), p.ID, tier)
		require.NoError(t, err)
		read(t, c, p.ID, tier, film)
	}
	_, err := c.Promote(t.Context(), p.ID, payload.RAM)
	require.NoError(t, err)
	read(t, c, p.ID, payload.RAM, film)

	_, _, err = c.Extend(t.Context(), p.ID, time.Second)
	require.NoError(t, err)
	awaitState(t, c, p.ID, payload.StateDeleted)
	require.Eventually(t, func() bool { return used(t, c) == 0 }, 10*time.Second, 10*time.Millisecond, "every byte comes back")
	lifeInTemporal(t, stack, p)
}

// lifeInTemporal looks at what the Temporal UI shows of a life.
func lifeInTemporal(t *testing.T, stack *e2e.Stack, p payload.Payload) {
	t.Helper()
	connection, err := client.Dial(client.Options{HostPort: stack.Config.Temporal.Address})
	require.NoError(t, err)
	defer connection.Close()
	id := contract.LifecycleID(p.Namespace, p.ID)
	var result contract.LifecycleResult
	require.NoError(t, connection.GetWorkflow(t.Context(), id, "").Get(t.Context(), &result))
	require.Equal(t, payload.StateDeleted, result.State)
	require.Equal(t, 3, result.Moves)

	var found *workflowservice.ListWorkflowExecutionsResponse
	require.Eventually(t, func() bool {
		found, err = connection.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Query: fmt.Sprintf("PayloadState = 'deleted' AND PayloadNamespace = 'default' AND WorkflowId = '%s'", id),
		})
		return err == nil && len(found.GetExecutions()) == 1
	}, 30*time.Second, 100*time.Millisecond, "it is found by its search attributes: %v", err)

	var text bytes.Buffer
	events := connection.GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(t, err)
		fmt.Fprintln(&text, event)
	}
	for _, secret := range []string{stack.Config.DataDir, stack.Config.Tiers.Object.Endpoint, "memfd", "X-Amz", "uploadId"} {
		require.False(t, strings.Contains(text.String(), secret), "histories hold no path, address, URL or handle, such as %s", secret)
	}
	for _, step := range []string{"a film, 37 MiB", "copy disk → object, 37 MiB", "copy object → ram, 37 MiB", "until it expires"} {
		require.True(t, strings.Contains(text.String(), step), "a person can read %q", step)
	}
}

func TestWithTemporalStoppedEverythingButMovesGoesOn(t *testing.T) {
	stack := start(t)
	c, film := stack.Client, content(mebibyte)
	resident := put(t, c, film, sdk.WithLifecycle(payload.LifecycleOwn))

	stack.Servers.Temporal.Kill()
	var ids []payload.ID
	for range 20 {
		p := put(t, c, film, sdk.WithTTL(time.Second))
		read(t, c, p.ID, payload.RAM, film)
		ids = append(ids, p.ID)
	}
	hurried, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := c.Spill(hurried, resident.ID, payload.Disk)
	require.ErrorIs(t, err, payload.Unavailable, "a move waits for Temporal until its caller's deadline")
	read(t, c, resident.ID, payload.RAM, film)
	_, err = c.Delete(t.Context(), put(t, c, film).ID)
	require.NoError(t, err)

	require.NoError(t, stack.Servers.Temporal.Restart(t.Context()))
	for _, id := range ids {
		awaitState(t, c, id, payload.StateDeleted)
	}
	_, err = c.Spill(t.Context(), resident.ID, payload.Disk)
	require.NoError(t, err)
	read(t, c, resident.ID, payload.Disk, film)
}

func TestADaemonStartsAndServesWithoutTemporal(t *testing.T) {
	stack := start(t)
	require.NoError(t, stack.StopDaemon())
	stack.Servers.Temporal.Kill()
	require.NoError(t, stack.StartDaemon(t.Context()))
	p := put(t, stack.Client, content(1000), sdk.WithTTL(time.Second))
	read(t, stack.Client, p.ID, payload.RAM, content(1000))

	require.NoError(t, stack.Servers.Temporal.Restart(t.Context()))
	awaitState(t, stack.Client, p.ID, payload.StateDeleted)
}

func TestWithS3StoppedMovesToItWaitAndTheSourceStays(t *testing.T) {
	stack := start(t)
	c, film := stack.Client, content(20*mebibyte)
	p := put(t, c, film, sdk.WithLifecycle(payload.LifecycleOwn))

	stack.Servers.S3.Kill()
	hurried, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := c.Spill(hurried, p.ID, payload.Object)
	require.ErrorIs(t, err, payload.Unavailable)
	read(t, c, p.ID, payload.RAM, film)
	_, err = c.Spill(t.Context(), p.ID, payload.Disk)
	require.NoError(t, err, "everything else works")
	read(t, c, p.ID, payload.Disk, film)

	require.NoError(t, stack.Servers.S3.Restart(t.Context()))
	_, err = c.Spill(t.Context(), p.ID, payload.Object)
	require.NoError(t, err)
	read(t, c, p.ID, payload.Object, film)
}

func TestAFloodOfShortLivesLeavesAShortOutbox(t *testing.T) {
	stack := start(t)
	c := stack.Client
	const lives = 3000
	var ids []payload.ID
	for range lives {
		ids = append(ids, put(t, c, content(512), sdk.WithTTL(time.Second)).ID)
	}
	require.Eventually(t, func() bool {
		stats, err := c.Stats(t.Context())
		require.NoError(t, err)
		return stats.Outbox == 0
	}, time.Minute, 50*time.Millisecond, "the outbox empties")
	for _, id := range ids {
		awaitState(t, c, id, payload.StateDeleted)
	}
	require.Eventually(t, func() bool { return used(t, c) == 0 }, 10*time.Second, 10*time.Millisecond)

	connection, err := client.Dial(client.Options{HostPort: stack.Config.Temporal.Address})
	require.NoError(t, err)
	defer connection.Close()
	count, err := connection.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{})
	require.NoError(t, err)
	t.Logf("%d lives took %d workflows", lives, count.GetCount())
	require.Less(t, count.GetCount(), int64(lives/4), "most of them shared a group's workflow")
}

func TestARestartKeepsWhatIsDurableAndReportsTheRest(t *testing.T) {
	stack := start(t)
	c, film := stack.Client, content(3*mebibyte)
	inRAM := put(t, c, film)
	onDisk := put(t, c, film, sdk.WithTier(payload.Disk))
	inBucket := put(t, c, film, sdk.WithTier(payload.Object))

	require.NoError(t, stack.StopDaemon())
	_, err := c.Get(t.Context(), onDisk.ID)
	require.ErrorIs(t, err, payload.Unavailable)
	require.NoError(t, stack.StartDaemon(t.Context()))

	read(t, c, onDisk.ID, payload.Disk, film)
	read(t, c, inBucket.ID, payload.Object, film)
	_, err = c.Open(t.Context(), inRAM.ID)
	require.ErrorIs(t, err, payload.Lost, "memory ends with the daemon, and is reported, never served as something else")
}

func TestAStopWithStreamsAndWaitersOpenKeepsItsGrace(t *testing.T) {
	stack := start(t)
	c := stack.Client
	p := put(t, c, content(1000))
	r, err := c.Open(t.Context(), p.ID)
	require.NoError(t, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Delete(context.Background(), p.ID, sdk.UntilFreed())
		waiting <- err
	}()
	require.Eventually(t, func() bool {
		got, err := c.Get(t.Context(), p.ID)
		return err == nil && got.State == payload.StateDeleting
	}, 10*time.Second, time.Millisecond)

	require.NoError(t, stack.StopDaemon(), "it stops by itself, whoever waits")
	require.Error(t, <-waiting)
	r.Close()
}

func TestASecondDaemonOnTheSameDirectoryIsRefused(t *testing.T) {
	stack := start(t)
	first := stack.Worker
	require.ErrorIs(t, stack.StartDaemon(t.Context()), payload.AlreadyExists)
	stack.Worker = first
	put(t, stack.Client, content(10))
}

// What a shell user sees: the program, its output and its exit codes.
func TestTheCommandLine(t *testing.T) {
	stack := start(t)
	program := filepath.Join(t.TempDir(), "payloadctl")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../sdk/payloadctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, append([]string{"--address", stack.Config.Listen.Socket}, args...)...)
		out, err := cmd.CombinedOutput()
		code := 0
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(t, err, &exit)
			code = exit.ExitCode()
		}
		require.Equal(t, want, code, "%v: %s", args, out)
		return string(bytes.TrimSpace(out))
	}
	file := filepath.Join(t.TempDir(), "film")
	require.NoError(t, os.WriteFile(file, content(5*mebibyte), 0o600))

	id := run(0, "put", "-o", "id", "--ttl", "10m", file)
	require.Contains(t, run(0, "ls"), id)
	require.Contains(t, run(0, "get", id), "active")
	run(0, "spill", id, "--to", "disk")
	require.Contains(t, run(0, "resolve", id), "disk")
	run(0, "promote", id, "--to", "ram")
	require.Equal(t, string(bytes.TrimSpace(content(5*mebibyte))), run(0, "cat", id))
	run(0, "extend", id, "--ttl", "1h")
	require.Contains(t, run(0, "stats"), "ram")
	run(0, "rm", id)
	run(3, "cat", id)
	run(2, "get", "not-an-id")
	run(3, "get", "0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10")
}
