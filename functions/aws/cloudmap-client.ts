// By names, so that a bundle has no more of the package than these need.
export {
  DiscoverInstancesCommand,
  DiscoverInstancesRevisionCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery'
