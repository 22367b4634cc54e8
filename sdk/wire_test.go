package sdk

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestEveryWordHasItsNumberAndBack(t *testing.T) {
	both(t, payloadv1.Tier_value, tierPrefix, payload.Tiers(), func(n int32) fmt.Stringer { return payloadv1.Tier(n) })
	both(t, payloadv1.State_value, statePrefix, payload.States(), func(n int32) fmt.Stringer { return payloadv1.State(n) })
	both(t, payloadv1.PlacementState_value, placementPrefix,
		[]payload.PlacementState{payload.Filling, payload.Ready, payload.Retiring},
		func(n int32) fmt.Stringer { return payloadv1.PlacementState(n) })
	both(t, payloadv1.Lifecycle_value, lifecyclePrefix,
		[]payload.LifecycleKind{payload.LifecycleAuto, payload.LifecycleOwn, payload.LifecycleGroup},
		func(n int32) fmt.Stringer { return payloadv1.Lifecycle(n) })
}

// both also holds that the enum has no value without a word: its length is one
// more than the list, for the unspecified.
func both[W ~string](t *testing.T, values map[string]int32, prefix string, words []W, enum func(int32) fmt.Stringer) {
	t.Helper()
	require.Len(t, values, len(words)+1)
	for _, w := range words {
		n := number[int32](values, prefix, w)
		require.NotZero(t, n, w)
		require.Equal(t, w, word[W](enum(n), prefix))
	}
	require.Empty(t, word[W](enum(0), prefix))
	require.Empty(t, word[W](enum(99), prefix), "a daemon may be newer than its client")
	require.Zero(t, number[int32](values, prefix, W("")))
}

func TestARecordSaysAllThatTheWireSays(t *testing.T) {
	born := time.Unix(1_800_000_000, 0).UTC()
	record, err := recordIn(&payloadv1.Payload{
		Id: "0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10", Namespace: "camera", Name: "frame 17", Size: 12, Checksum: "crc32c:00000001", Verified: true,
		Policy: &payloadv1.Policy{
			Tier: payloadv1.Tier_TIER_RAM, Ttl: durationpb.New(time.Hour),
			Lifecycle: payloadv1.Lifecycle_LIFECYCLE_OWN, CommitWithin: durationpb.New(time.Minute),
		},
		State: payloadv1.State_STATE_ACTIVE, Version: 3,
		CreatedAt: timestamppb.New(born), CommitBy: timestamppb.New(born.Add(time.Minute)), ActiveAt: timestamppb.New(born.Add(time.Second)),
		Placements: []*payloadv1.Placement{
			{Tier: payloadv1.Tier_TIER_RAM, Host: "alpha", State: payloadv1.PlacementState_PLACEMENT_STATE_RETIRING, Leases: 2},
			{Tier: payloadv1.Tier_TIER_OBJECT, State: payloadv1.PlacementState_PLACEMENT_STATE_READY},
		},
		WorkflowId: "payload:camera:0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10",
	})

	require.NoError(t, err)
	id, err := payload.ParseID("0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10")
	require.NoError(t, err)
	require.Equal(t, Record{
		Payload: payload.Payload{
			ID: id, Namespace: "camera", Name: "frame 17", Size: 12, Checksum: payload.CRC32C(1), Verified: true,
			Policy: payload.Policy{Tier: payload.RAM, TTL: time.Hour, Lifecycle: payload.LifecycleOwn, CommitWithin: time.Minute},
			State:  payload.StateActive, Version: 3,
			CreatedAt: born, CommitBy: born.Add(time.Minute), ActiveAt: born.Add(time.Second),
			Placements: []payload.Placement{
				{Tier: payload.RAM, Host: "alpha", State: payload.Retiring},
				{Tier: payload.Object, State: payload.Ready},
			},
		},
		Leases:   []int{2, 0},
		Workflow: "payload:camera:0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10",
	}, record)
}

func TestAnAnswerThatMakesNoSenseIsADefect(t *testing.T) {
	_, err := recordIn(&payloadv1.Payload{Id: "7"})
	require.ErrorIs(t, err, payload.Internal)
	_, err = recordIn(&payloadv1.Payload{Id: "0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10", Checksum: "md5:1"})
	require.ErrorIs(t, err, payload.Internal)
	_, err = leaseIn(nil)
	require.ErrorIs(t, err, payload.Internal)
}

func TestWhereADaemonIsLookedFor(t *testing.T) {
	none := func(string) string { return "" }
	set := func(name, value string) func(string) string {
		return func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
	}
	for target, found := range map[string]address{
		"/tmp/x/api.sock":        {"unix", "/tmp/x/api.sock"},
		"unix:/tmp/x/api.sock":   {"unix", "/tmp/x/api.sock"},
		"unix:///tmp/x/api.sock": {"unix", "/tmp/x/api.sock"},
		".dev/api.sock":          {"unix", ".dev/api.sock"},
		"unix:api":               {"unix", "api"},
		"api.sock":               {"unix", "api.sock"},
		"127.0.0.1:7233":         {"tcp", "127.0.0.1:7233"},
		"[::1]:7233":             {"tcp", "[::1]:7233"},
		"localhost:7233":         {"tcp", "localhost:7233"},
	} {
		at, err := find(target, none)
		require.NoError(t, err, target)
		require.Equal(t, found, at, target)
	}

	at, err := find("", set(AddressVariable, "/tmp/y/api.sock"))
	require.NoError(t, err)
	require.Equal(t, "/tmp/y/api.sock", at.at)
	require.Equal(t, "/tmp/y/door.sock", at.door())

	at, err = find("", set("XDG_RUNTIME_DIR", "/run/user/1"))
	require.NoError(t, err)
	require.Contains(t, []string{"/run/user/1/payload-manager/api.sock", "/run/payload-manager/api.sock"}, at.at)

	_, err = find("example.org:7233", none)
	require.ErrorIs(t, err, payload.Unsupported)
	_, err = find("7233", none)
	require.ErrorIs(t, err, payload.Invalid)
}
