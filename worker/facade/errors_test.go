package facade_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/payload-manager/payload-manager/catalog"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// promoteInstead is what a client gets when the move it asked for ends so.
func promoteInstead(r *rig, ctx context.Context, fail func(context.Context) error) complaint {
	r.t.Helper()
	p := r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	r.mover.fail.Store(&fail)
	_, err := r.move.Promote(ctx, &payloadv1.PromoteRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_RAM})
	return complaintOf(r.t, err)
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	r := newRig(t)
	for code, want := range map[payload.Code]codes.Code{
		payload.NotFound:      codes.NotFound,
		payload.AlreadyExists: codes.AlreadyExists,
		payload.Invalid:       codes.InvalidArgument,
		payload.Conflict:      codes.Aborted,
		payload.Busy:          codes.FailedPrecondition,
		payload.Exhausted:     codes.ResourceExhausted,
		payload.Expired:       codes.FailedPrecondition,
		payload.Lost:          codes.DataLoss,
		payload.Corrupt:       codes.DataLoss,
		payload.Denied:        codes.PermissionDenied,
		payload.Unsupported:   codes.Unimplemented,
		payload.Unavailable:   codes.Unavailable,
		payload.WrongHost:     codes.FailedPrecondition,
	} {
		t.Run(string(code), func(t *testing.T) {
			c := promoteInstead(r, t.Context(), func(context.Context) error {
				return payload.Errorf(code, "so it is").Retry(7 * time.Second)
			})
			require.Equal(t, want, c.code)
			require.Equal(t, "so it is", c.wholly.Message())
			require.Equal(t, string(code), c.info.GetReason())
			require.Equal(t, string(code), c.info.GetMetadata()["code"])
			require.Equal(t, "promote", c.info.GetMetadata()["op"])
			require.NotEmpty(t, c.info.GetMetadata()["id"])
			require.Equal(t, 7*time.Second, c.retry)
			require.Equal(t, code == payload.Busy, c.unmet == "BUSY")
		})
	}
}

func TestACommitWhileTheProducerWritesSaysSo(t *testing.T) {
	r := newRig(t)
	room := r.allocate(&payloadv1.AllocateRequest{Size: 8})
	opened, err := r.host.OpenToken(t.Context(), room.GetWriteToken())
	require.NoError(t, err)
	_, err = opened.File.WriteAt(content(8), 0)
	require.NoError(t, err)
	held := mapped(t, opened.File, 8)
	require.NoError(t, opened.Close())

	_, err = r.life.Commit(t.Context(), &payloadv1.CommitRequest{Id: room.GetPayload().GetId()})
	c := complaintOf(t, err)
	require.Equal(t, codes.FailedPrecondition, c.code)
	require.Equal(t, "STILL_MAPPED", c.info.GetReason())
	require.Equal(t, "STILL_MAPPED", c.unmet)

	held()
	_, err = r.life.Commit(t.Context(), &payloadv1.CommitRequest{Id: room.GetPayload().GetId()})
	require.NoError(t, err, "once it let go, the same commit succeeds")
}

func TestADefectIsLoggedOnceAndToldToNobody(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return errors.New("secret cause") },
		"panic": func(context.Context) error { panic("secret cause") },
		"coded": func(context.Context) error { return payload.Errorf(payload.Internal, "secret cause") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := promoteInstead(r, t.Context(), fail)
			require.Equal(t, codes.Internal, c.code)
			require.Equal(t, "INTERNAL", c.info.GetReason())
			require.NotContains(t, c.wholly.String(), "secret cause")
			require.Equal(t, 1, strings.Count(r.log.String(), "secret cause"), r.log.String())
		})
	}
}

func TestACallerThatGaveUpIsNoDefect(t *testing.T) {
	r := newRig(t)
	late := promoteInstead(r, t.Context(), func(context.Context) error { return fmt.Errorf("copying: %w", context.DeadlineExceeded) })
	require.Equal(t, codes.DeadlineExceeded, late.code)

	down := promoteInstead(r, t.Context(), func(context.Context) error {
		return payload.Errorf(payload.Unavailable, "lifecycles cannot be reached: %w", context.DeadlineExceeded).Retry(time.Second)
	})
	require.Equal(t, codes.Unavailable, down.code, "where the cause is known, it is told")

	ours := promoteInstead(r, t.Context(), func(context.Context) error { return context.Canceled })
	require.Equal(t, codes.Unavailable, ours.code, "what the daemon breaks off, the caller may repeat")
	require.Positive(t, ours.retry)
	require.Empty(t, r.log.String())
}

func TestTheWrongHostNamesTheRightOne(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.catalog.Announce(t.Context(), catalog.Host{Name: "beta", Address: "beta:7070"}))
	id, err := payload.NewID()
	require.NoError(t, err)
	there := payload.Placement{Tier: payload.RAM, Host: "beta", State: payload.Filling, Attempt: 1}
	policy := payload.Policy{}.WithDefaults()
	_, err = r.catalog.Allocate(t.Context(), catalog.Allocation{ID: id, Namespace: "default", Size: 8, Policy: policy, Placement: there})
	require.NoError(t, err)
	_, err = r.catalog.Commit(t.Context(), catalog.Change{ID: id}, there, 0, payload.Checksum{}, false)
	require.NoError(t, err)

	_, acquire := r.lease.Acquire(t.Context(), &payloadv1.AcquireRequest{Id: id.String()})
	_, promote := r.move.Promote(t.Context(), &payloadv1.PromoteRequest{Id: id.String(), To: payloadv1.Tier_TIER_RAM})
	_, spill := r.move.Spill(t.Context(), &payloadv1.SpillRequest{Id: id.String(), To: payloadv1.Tier_TIER_DISK})
	for _, err := range []error{acquire, promote, spill} {
		c := complaintOf(t, err)
		require.Equal(t, "WRONG_HOST", c.info.GetReason(), "%v", err)
		require.Equal(t, "beta", c.info.GetMetadata()["host"])
		require.Equal(t, "beta:7070", c.info.GetMetadata()["address"])
	}
}
