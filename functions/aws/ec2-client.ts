// By names, so that a bundle has no more of the package than these need: all of it is 90 MB of memory.
export { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2'
