package facade

import (
	"context"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
)

// adminService tells operators how a host is.
type adminService struct {
	payloadv1.UnimplementedAdminServiceServer
	facade *Facade
}

func (s *adminService) Stats(ctx context.Context, _ *payloadv1.StatsRequest) (*payloadv1.StatsResponse, error) {
	f := s.facade
	tiers, err := f.host.Stats(ctx)
	if err != nil {
		return nil, err
	}
	entries, oldest, err := f.lag(ctx)
	if err != nil {
		return nil, err
	}
	leases := f.host.Leases()
	answer := &payloadv1.StatsResponse{
		Host:   f.host.Name(),
		Leases: int64(leases.Count), OldestLease: span(leases.Oldest),
		Outbox: int64(entries), OutboxLag: span(oldest),
		ControlPlaneBytes: f.traffic.bytes(),
		TemporalUi:        f.temporalUI,
	}
	for _, t := range tiers {
		answer.Tiers = append(answer.Tiers, &payloadv1.TierStats{
			Tier: tierNumber(t.Tier), Capacity: t.Capacity, Used: t.Used, Placements: t.Placements,
		})
	}
	return answer, nil
}

func (s *adminService) Hosts(ctx context.Context, _ *payloadv1.HostsRequest) (*payloadv1.HostsResponse, error) {
	hosts, err := s.facade.catalog.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	answer := &payloadv1.HostsResponse{}
	for _, h := range hosts {
		answer.Hosts = append(answer.Hosts, hostInfo(h))
	}
	return answer, nil
}
