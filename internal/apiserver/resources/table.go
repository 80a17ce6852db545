package resources

// Table returns a row for every kind that the API server stores. The order of
// groups is the order in which they are installed and listed.
func Table() []Resource {
	var rows []Resource
	for _, group := range []func() []Resource{
		Core, Apps, Batch, Autoscaling, Policy, Networking, Discovery, Coordination,
		RBAC, Storage, Scheduling, Node, Certificates, AdmissionRegistration, FlowControl,
		DynamicResource, StorageMigration,
	} {
		rows = append(rows, group()...)
	}
	return rows
}
